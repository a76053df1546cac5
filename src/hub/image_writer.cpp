#include "hub/image_writer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "base/failpoint.h"
#include "tensor/staging.h"

namespace rlcpp::hub {
namespace {

const failpoint::Registration kPoints{"checkpoint.read_block", "checkpoint.write_block"};

// Pages appear when they are first written, large ones where the system can.
class Ring {
 public:
  Ring(std::size_t blocks, std::size_t block_bytes) : bytes_(blocks * block_bytes) {
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED) {
      throw environment_error("there is no host memory for the checkpoint writer",
                              fmt::format("{} MiB: {}", bytes_ >> 20, std::generic_category().message(errno)),
                              "lower ckpt.staging");
    }
    madvise(base_, bytes_, MADV_HUGEPAGE);  // best effort
  }
  ~Ring() { munmap(base_, bytes_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  std::size_t bytes() const { return bytes_; }
  std::byte* at(std::size_t offset) const { return static_cast<std::byte*>(base_) + offset; }

 private:
  std::size_t bytes_;
  void* base_;
};

// One block of one file.
struct Block {
  const TensorImage* image;
  std::uint64_t chunk;
  std::size_t bytes;
  bool steady;
  std::size_t directory;
  durable::AtomicDirectory::Parts* parts;  // null: of a file that several processes write
  JointDirectories* joint = nullptr;
  std::size_t file = 0;                // of the joint ones
  std::vector<ByteRange> ranges = {};  // of the file; empty: all of the block
};

}  // namespace

struct ImageWriter::State {
  State(durable::FileLayer& layer, std::size_t blocks, int writing)
      : files(layer), ring(blocks, kBlock), writers(writing) {}
  durable::FileLayer& files;
  Ring ring;
  int writers;                                   // threads
  std::vector<std::unique_ptr<Stager>> stagers;  // one a reading thread
};

namespace {

// One call of write(): the threads meet here.
class Job {
 public:
  Job(const Ring& ring, std::vector<Block> blocks, std::size_t directories, WriteProgress& progress,
      const std::function<void()>& on_read)
      : ring_(ring),
        blocks_(std::move(blocks)),
        progress_(progress),
        on_read_(on_read),
        missing_(directories) {
    for (const Block& block : blocks_) {
      ++missing_[block.directory];
      awaited_ += block.steady ? 0 : 1;
    }
    if (awaited_ == 0 && on_read_) on_read_();
    for (std::size_t at = 0; at < ring.bytes(); at += ImageWriter::kBlock) free_.push_back(at);
  }

  // Begins the next block before it waits for the last one, so that the bus always has work of this thread.
  void read_blocks(Stager& stager) {
    guarded([&] {
      stager.drop();  // of a call that failed
      struct Begun {
        std::size_t index, place;
        Stager::Ticket ticket;
      };
      std::optional<Begun> before;
      for (;;) {
        // Never waits for a place while it holds a block that would bring one.
        const auto taken = take(/*wait=*/!before.has_value());
        std::optional<Begun> begun;
        if (taken) {
          const auto [index, place] = *taken;
          const Block& block = blocks_[index];
          failpoint::hit("checkpoint.read_block");
          begun = {index, place, begin_read(block, place, stager)};
        }
        if (before) {
          stager.finish(before->ticket);
          has_read(before->index, before->place);
        } else if (!begun) {
          return;
        }
        before = begun;
      }
    });
  }

  void write_blocks() {
    guarded([&] {
      for (;;) {
        std::size_t index = 0, place = 0;
        {
          std::unique_lock hold(lock_);
          filled_.wait(hold, [&] { return failure_ || !full_.empty() || read_ == blocks_.size(); });
          if (failure_ || full_.empty()) return;
          std::tie(index, place) = full_.front();
          full_.pop_front();
        }
        const Block& block = blocks_[index];
        failpoint::hit("checkpoint.write_block");
        const bool last = store(block, place);
        progress_.written_bytes += block.bytes;
        {
          const std::lock_guard hold(lock_);
          free_.push_back(place);
        }
        freed_.notify_one();
        if (last && block.parts != nullptr) block.parts->finish();  // waits for the disk; the others go on
        bool all = false;
        {
          const std::lock_guard hold(lock_);
          all = --missing_[block.directory] == 0;
        }
        if (all) stored_.notify_all();
      }
    });
  }

  // Returns when the files of `directory` are on disk; throws the first error of any thread.
  void await(std::size_t directory) {
    std::unique_lock hold(lock_);
    stored_.wait(hold, [&] { return failure_ || missing_[directory] == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

  void fail(const std::exception_ptr& failure) {
    {
      const std::lock_guard hold(lock_);
      if (!failure_) failure_ = failure;
    }
    for (std::condition_variable* each : {&freed_, &filled_, &stored_}) each->notify_all();
  }

 private:
  Stager::Ticket begin_read(const Block& block, std::size_t place, Stager& stager) const {
    const std::size_t begin = block.chunk * ImageWriter::kBlock;
    if (block.joint == nullptr) return block.image->begin_read(begin, {ring_.at(place), block.bytes}, stager);
    for (const ByteRange& range : block.ranges)
      block.image->begin_read(range.first, {ring_.at(place + (range.first - begin)), range.count}, stager);
    return stager.newest();
  }

  // True if that was the last block of its file.
  bool store(const Block& block, std::size_t place) const {
    if (block.joint == nullptr) return block.parts->write(block.chunk, {ring_.at(place), block.bytes});
    for (const ByteRange& range : block.ranges) {
      const std::size_t at = place + (range.first - block.chunk * ImageWriter::kBlock);
      block.joint->write(block.file, range.first, {ring_.at(at), range.count});
    }
    return false;
  }

  // The next block and a place for it. nullopt: there is no block left or a thread has failed, or, unless it
  // may wait, no place.
  std::optional<std::pair<std::size_t, std::size_t>> take(bool wait) {
    std::unique_lock hold(lock_);
    if (wait) freed_.wait(hold, [&] { return failure_ || next_ == blocks_.size() || !free_.empty(); });
    if (failure_ || next_ == blocks_.size() || free_.empty()) return std::nullopt;
    const std::size_t place = free_.front();
    free_.pop_front();
    const std::size_t index = next_++;
    if (next_ == blocks_.size()) freed_.notify_all();  // the others need not wait for a place
    return std::pair{index, place};
  }

  void has_read(std::size_t index, std::size_t place) {
    const Block& block = blocks_[index];
    progress_.read_bytes += block.bytes;
    bool none_awaited = false, last = false;
    {
      const std::lock_guard hold(lock_);
      full_.emplace_back(index, place);
      last = ++read_ == blocks_.size();
      if (!block.steady) none_awaited = --awaited_ == 0;
    }
    if (last) {
      filled_.notify_all();  // writers without a block can end
    } else {
      filled_.notify_one();
    }
    if (none_awaited && on_read_) on_read_();
  }

  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (...) {
      fail(std::current_exception());
    }
  }

  const Ring& ring_;
  const std::vector<Block> blocks_;
  WriteProgress& progress_;
  const std::function<void()>& on_read_;
  std::mutex lock_;
  std::condition_variable freed_;                         // for readers: a place, or no block is left
  std::condition_variable filled_;                        // for writers: a block, or all are read
  std::condition_variable stored_;                        // for await(): a directory; all three: a failure
  std::size_t awaited_ = 0;                               // blocks that may change and are not read
  std::size_t next_ = 0, read_ = 0;                       // blocks given to a reader, and read
  std::deque<std::size_t> free_;                          // places in the ring
  std::deque<std::pair<std::size_t, std::size_t>> full_;  // block, place: in the order of reading
  std::vector<std::size_t> missing_;                      // blocks of each directory that are not on disk
  std::exception_ptr failure_;
};

void store(const std::string& text, durable::AtomicDirectory::Parts& place) {
  const auto bytes = std::as_bytes(std::span(text));
  for (std::uint64_t chunk = 0; chunk < place.chunks(); ++chunk) {
    const std::size_t at = chunk * ImageWriter::kBlock;
    place.write(chunk, bytes.subspan(at, std::min(ImageWriter::kBlock, bytes.size() - at)));
  }
  place.finish();
}

}  // namespace

int writer_threads() {
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency() / 4, 1U, 4U));
}

int reader_threads() {
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency() / 2, 1U, 8U));
}

ImageWriter::ImageWriter(durable::FileLayer& files, Device device, std::size_t ring_bytes, int writers,
                         int readers)
    : state_(std::make_unique<State>(files, std::max<std::size_t>(ring_bytes / kBlock, 1), writers)) {
  RLCPP_CHECK(writers > 0 && readers >= 0);
  for (int i = 0; i < (readers > 0 ? readers : writers); ++i)
    state_->stagers.push_back(std::make_unique<Stager>(device));
}
ImageWriter::~ImageWriter() = default;

std::size_t ImageWriter::ring_for(const std::vector<DirectoryImage>& images) {
  std::size_t blocks = 0;
  for (const DirectoryImage& image : images) {
    for (const DirectoryImage::File& file : image.files) {
      if (!file.tensors.has_value()) continue;
      const std::size_t bytes = file.tensors->bytes();
      for (std::size_t at = 0; at < bytes; at += kBlock)
        blocks += file.tensors->held({at, std::min(kBlock, bytes - at)}).empty() ? 0 : 1;
    }
  }
  return std::max<std::size_t>(blocks, 1) * kBlock;
}
std::size_t ImageWriter::ring_bytes() const {
  return state_->ring.bytes();
}
std::size_t ImageWriter::pinned_bytes() const {
  return state_->stagers.size() * Stager::kPinnedBytes;
}

namespace {

// `work` beside the threads of a job. They stop when it throws; when this returns, all have ended.
template <class Work>
void with_threads(Job& job, const std::vector<std::unique_ptr<Stager>>& stagers, int writers,
                  const Work& work) {
  std::vector<std::jthread> threads;
  try {
    for (const auto& stager : stagers) threads.emplace_back([&job, &stager] { job.read_blocks(*stager); });
    for (int i = 0; i < writers; ++i) threads.emplace_back([&job] { job.write_blocks(); });
    work();
  } catch (...) {
    job.fail(std::current_exception());
    throw;
  }
}

}  // namespace

void ImageWriter::write(const std::vector<DirectoryImage>& images, const std::string& run_id,
                        WriteProgress& progress, const std::function<void()>& on_read) {
  durable::FileLayer& files = state_->files;
  std::deque<durable::AtomicDirectory> directories;
  std::deque<durable::AtomicDirectory::Parts> parts;  // these two do not move their elements
  std::vector<Block> blocks;
  std::vector<std::pair<const std::string*, durable::AtomicDirectory::Parts*>> texts;
  for (std::size_t d = 0; d < images.size(); ++d) {
    durable::AtomicDirectory& directory = directories.emplace_back(files, images[d].path, run_id);
    for (const DirectoryImage::File& file : images[d].files) {
      if (!file.tensors.has_value()) {
        texts.emplace_back(&file.text, &parts.emplace_back(directory.create(file.name, file.text.size())));
        continue;
      }
      const std::size_t bytes = file.tensors->bytes();
      progress.total_bytes += bytes;
      durable::AtomicDirectory::Parts& place = parts.emplace_back(directory.create(file.name, bytes));
      for (std::uint64_t chunk = 0; chunk < place.chunks(); ++chunk)
        blocks.push_back({.image = &*file.tensors,
                          .chunk = chunk,
                          .bytes = std::min(kBlock, bytes - chunk * kBlock),
                          .steady = images[d].steady,
                          .directory = d,
                          .parts = &place});
    }
  }
  Job job(state_->ring, std::move(blocks), images.size(), progress, on_read);
  with_threads(job, state_->stagers, state_->writers, [&] {
    // Only now: the threads do not wait until these are on disk.
    for (const auto& [text, place] : texts) store(*text, *place);
    for (std::size_t d = 0; d < images.size(); ++d) {
      job.await(d);
      if (images[d].before_commit) images[d].before_commit(files);
      directories[d].commit(images[d].facts);
      ++progress.committed;
      if (images[d].after_commit) images[d].after_commit(files);
    }
  });
}

void ImageWriter::write(const std::vector<DirectoryImage>& images, JointDirectories& to,
                        WriteProgress& progress, const std::function<void()>& on_read) {
  std::vector<Block> blocks;
  std::size_t index = 0;
  for (std::size_t d = 0; d < images.size(); ++d) {
    for (const DirectoryImage::File& file : images[d].files) {
      if (!file.tensors.has_value()) continue;
      const std::size_t all = file.tensors->bytes();
      for (std::size_t at = 0; at < all; at += kBlock) {
        std::vector<ByteRange> ranges = file.tensors->held({at, std::min(kBlock, all - at)});
        if (ranges.empty()) continue;
        std::size_t bytes = 0;
        for (const ByteRange& range : ranges) bytes += range.count;
        progress.total_bytes += bytes;
        blocks.push_back({.image = &*file.tensors,
                          .chunk = at / kBlock,
                          .bytes = bytes,
                          .steady = images[d].steady,
                          .directory = d,
                          .parts = nullptr,
                          .joint = &to,
                          .file = index,
                          .ranges = std::move(ranges)});
      }
      ++index;
    }
  }
  Job job(state_->ring, std::move(blocks), images.size(), progress, on_read);
  with_threads(job, state_->stagers, state_->writers, [&] {
    for (std::size_t d = 0; d < images.size(); ++d) job.await(d);
  });
  to.finish();
}

}  // namespace rlcpp::hub
