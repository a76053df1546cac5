// The directories of images, written by several processes together: each stores the bytes that it has, on a
// file system that all of them see (base/durable_shared.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/durable_shared.h"
#include "hub/tensor_image.h"

namespace rlcpp::hub {

// What others may look at while images are written.
struct WriteProgress {
  std::atomic<std::uint64_t> read_bytes = 0, written_bytes = 0, total_bytes = 0;
  std::atomic<int> committed = 0;  // directories, in their order
};

class JointDirectories {
 public:
  // `first`: makes the directories, with their texts and empty files; the others then open those. All give
  // the same run_id and images of the same files. Throws as durable::AtomicDirectory does, environment_error
  // if another process cannot see the files.
  JointDirectories(durable::FileLayer& files, const std::vector<DirectoryImage>& images,
                   const std::string& run_id, bool first);

  // Bytes of tensor file `file`, counted over all images; from any thread.
  void write(std::size_t file, std::uint64_t offset, std::span<const std::byte> bytes);
  // Returns when all of that is on disk.
  void finish();

  // What this process has stored, as numbers, for the first one.
  std::vector<double> report() const;
  // By the first, when all have finished: `reports` of all processes, its own among them. Throws
  // environment_error, and commits nothing more, if bytes are missing.
  void commit(const std::vector<DirectoryImage>& images, const std::vector<std::vector<double>>& reports,
              WriteProgress& progress);

 private:
  struct File {
    std::string name;
    std::uint64_t size = 0;
    std::size_t directory = 0;
    durable::AtomicDirectory::Parts parts;       // of the first
    std::unique_ptr<durable::SharedFile> there;  // of the others
  };
  durable::FileLayer& files_;
  std::deque<durable::AtomicDirectory> directories_;  // of the first
  std::vector<File> tensors_;
  mutable std::mutex lock_;
  std::vector<std::vector<durable::Segment>> stored_;  // by file
};

}  // namespace rlcpp::hub
