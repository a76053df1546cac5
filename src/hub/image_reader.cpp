#include "hub/image_reader.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <span>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "hub/safetensors.h"
#include "tensor/staging.h"

namespace rlcpp::hub {
namespace {

constexpr const char* kOtherModel = "resume with the model of that run";

// Consecutive bytes of a file that go to one tensor.
struct Run {
  std::size_t offset, bytes;
  Tensor place;
};

struct FileRuns {
  std::string name;
  std::vector<Run> runs;  // by offset
};

}  // namespace

TensorTarget::TensorTarget(const Tensor& whole)
    : shape(whole.shape().begin(), whole.shape().end()), dtype(whole.dtype()), pieces{{0, whole}} {}

namespace {

FileRuns runs_of(const durable::VerifiedDirectory& directory, const TensorFileTarget& target) {
  // The header is read from the mapped file below, so its bytes are verified first.
  std::vector<std::byte> first(std::min<std::uint64_t>(durable::kChunkBytes, directory.size(target.name)));
  if (!first.empty()) directory.read(target.name, 0, first);
  const std::string path = directory.path() + "/" + target.name;
  const SafetensorsFile file(path);
  const auto& stored = file.tensors();
  FileRuns out{target.name, {}};
  for (const auto& [name, place] : target.places) {
    const auto it = stored.find(name);
    if (it == stored.end()) {
      throw bad_input(fmt::format("{}: tensor {} is missing", path, name),
                      "the checkpoint was written by a run with another model", kOtherModel);
    }
    const StoredTensor& t = it->second;
    if (t.shape != place.shape || t.dtype != place.dtype) {
      throw bad_input(fmt::format("{}: tensor {} does not fit", path, name),
                      fmt::format("stored [{}] {}, the run has [{}] {}", fmt::join(t.shape, ", "),
                                  name_of(t.dtype), fmt::join(place.shape, ", "), name_of(place.dtype)),
                      kOtherModel);
    }
    for (const TensorPiece& piece : place.pieces) {
      RLCPP_CHECK(piece.values.dtype() == place.dtype);
      out.runs.push_back({t.offset + static_cast<std::size_t>(piece.first) * size_of(t.dtype),
                          piece.values.bytes(), piece.values});
    }
  }
  if (stored.size() != target.places.size()) {
    throw bad_input(fmt::format("{} holds tensors that the model does not have", path),
                    fmt::format("{} stored, {} expected", stored.size(), target.places.size()), kOtherModel);
  }
  std::ranges::sort(out.runs, {}, &Run::offset);
  return out;
}

void scatter(const FileRuns& file, std::size_t offset, std::span<const std::byte> bytes, Stager& stager) {
  const std::size_t end = offset + bytes.size();
  auto at = std::ranges::upper_bound(file.runs, offset, {}, &Run::offset);
  if (at != file.runs.begin()) --at;
  for (; at != file.runs.end() && at->offset < end; ++at) {
    const std::size_t from = std::max(offset, at->offset), to = std::min(end, at->offset + at->bytes);
    if (from >= to) continue;
    stager.to_device(static_cast<std::byte*>(at->place.raw()) + (from - at->offset), at->place.device(),
                     bytes.subspan(from - offset, to - from));
  }
}

}  // namespace

void read_tensors(const durable::VerifiedDirectory& directory, const std::vector<TensorFileTarget>& targets,
                  Device device, int threads) {
  std::vector<FileRuns> files;
  std::vector<std::pair<const FileRuns*, std::uint64_t>> chunks;
  files.reserve(targets.size());
  for (const TensorFileTarget& target : targets) {
    files.push_back(runs_of(directory, target));
    const std::uint64_t count =
        (directory.size(target.name) + durable::kChunkBytes - 1) / durable::kChunkBytes;
    for (std::uint64_t chunk = 0; chunk < count; ++chunk) chunks.emplace_back(&files.back(), chunk);
  }
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex lock;
  std::size_t failed_at = chunks.size();
  std::exception_ptr failure;
  const auto work = [&] {
    std::size_t at = chunks.size();
    try {
      Stager stager(device);
      std::vector<std::byte> buffer(durable::kChunkBytes);
      while (!failed) {
        at = next.fetch_add(1);
        if (at >= chunks.size()) return;
        const auto& [file, chunk] = chunks[at];
        const std::size_t bytes = directory.read(file->name, chunk, buffer);
        scatter(*file, chunk * durable::kChunkBytes, std::span(buffer).first(bytes), stager);
      }
    } catch (...) {
      // Chunks are taken in order: of all faults the first in the files is the one that is named.
      const std::lock_guard hold(lock);
      if (!failure || at < failed_at) {
        failure = std::current_exception();
        failed_at = at;
      }
      failed = true;
    }
  };
  {
    std::vector<std::jthread> others;
    const std::size_t count =
        std::min<std::size_t>(static_cast<std::size_t>(std::max(1, threads)), chunks.size());
    for (std::size_t i = 1; i < count; ++i) others.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace rlcpp::hub
