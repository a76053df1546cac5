#include "hub/joint_directories.h"

#include "base/error.h"

namespace rlcpp::hub {

JointDirectories::JointDirectories(durable::FileLayer& files, const std::vector<DirectoryImage>& images,
                                   const std::string& run_id, bool first)
    : files_(files) {
  for (std::size_t d = 0; d < images.size(); ++d) {
    const DirectoryImage& image = images[d];
    if (first) directories_.emplace_back(files, image.path, run_id);
    const std::string temporary = durable::AtomicDirectory::temporary_of(image.path, run_id);
    for (const DirectoryImage::File& file : image.files) {
      if (!file.tensors.has_value()) {
        if (first) directories_.back().add(file.name, file.text);
        continue;
      }
      File& to = tensors_.emplace_back();
      to.name = file.name;
      to.size = file.tensors->bytes();
      to.directory = d;
      if (first) {
        to.parts = directories_.back().create(file.name, to.size);
      } else {
        to.there = std::make_unique<durable::SharedFile>(files, temporary + "/" + file.name);
      }
    }
  }
  stored_.resize(tensors_.size());
}

void JointDirectories::write(std::size_t file, std::uint64_t offset, std::span<const std::byte> bytes) {
  File& to = tensors_.at(file);
  const std::vector<durable::Segment> segments = durable::segments_of(offset, bytes);
  if (to.there != nullptr) {
    to.there->write_at(offset, bytes);
  } else {
    to.parts.write_at(offset, bytes);
  }
  const std::lock_guard hold(lock_);
  stored_[file].insert(stored_[file].end(), segments.begin(), segments.end());
}

void JointDirectories::finish() {
  for (File& file : tensors_) {
    if (file.there != nullptr) file.there->finish();  // the first syncs when it commits
  }
}

std::vector<double> JointDirectories::report() const {
  const std::lock_guard hold(lock_);
  std::vector<double> out;
  for (const auto& segments : stored_) {
    out.push_back(static_cast<double>(segments.size()));
    for (const durable::Segment& s : segments) {
      // Whole numbers below 2^53, which a double holds exactly.
      out.insert(out.end(),
                 {static_cast<double>(s.offset), static_cast<double>(s.bytes), static_cast<double>(s.crc)});
    }
  }
  return out;
}

void JointDirectories::commit(const std::vector<DirectoryImage>& images,
                              const std::vector<std::vector<double>>& reports, WriteProgress& progress) {
  RLCPP_CHECK(images.size() == directories_.size());
  std::vector<std::vector<durable::Segment>> segments(tensors_.size());
  for (const std::vector<double>& report : reports) {
    std::size_t at = 0;
    const auto next = [&] { return static_cast<std::uint64_t>(report.at(at++)); };
    for (auto& of_file : segments) {
      for (std::uint64_t left = next(); left > 0; --left) {
        durable::Segment& s = of_file.emplace_back();
        s.offset = next();
        s.bytes = next();
        s.crc = static_cast<std::uint32_t>(next());
      }
    }
    RLCPP_CHECK(at == report.size());
  }
  for (std::size_t d = 0; d < images.size(); ++d) {
    for (std::size_t f = 0; f < tensors_.size(); ++f) {
      File& file = tensors_[f];
      if (file.directory != d) continue;
      file.parts.finish(
          durable::chunk_checksums(images[d].path + "/" + file.name, file.size, std::move(segments[f])));
    }
    if (images[d].before_commit) images[d].before_commit(files_);
    directories_[d].commit(images[d].facts);
    ++progress.committed;
    if (images[d].after_commit) images[d].after_commit(files_);
  }
}

}  // namespace rlcpp::hub
