// Writes directory images through a ring of host memory: some threads read blocks from the device, others
// checksum and store them. The larger the ring, the earlier the device's memory may change again; with room
// for all blocks that is as soon as they are copied, with a small one it is when the disk is nearly done.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/durable.h"
#include "hub/joint_directories.h"
#include "hub/tensor_image.h"
#include "tensor/device.h"

namespace rlcpp::hub {

// Threads that store: a quarter of the cores, one to four. Threads that copy from where the tensors lie: half
// the cores, one to eight, since a core copies more slowly than a bus and training waits for them.
int writer_threads();
int reader_threads();

class ImageWriter {
 public:
  // One block is one checksum of the manifest. Fewer than a block are one.
  static constexpr std::size_t kBlock = durable::kChunkBytes;

  // `ring_bytes` of address space, touched when first used, kept until the end. `writers`, `readers`: threads
  // of each kind; readers 0: as many. `device`: where the tensors of the images lie. Throws environment_error
  // if there is no memory.
  ImageWriter(durable::FileLayer& files, Device device, std::size_t ring_bytes, int writers, int readers = 0);
  ~ImageWriter();
  ImageWriter(const ImageWriter&) = delete;
  ImageWriter& operator=(const ImageWriter&) = delete;

  // Ring memory that writes all of `images` that this process has without waiting for the disk.
  static std::size_t ring_for(const std::vector<DirectoryImage>& images);
  std::size_t ring_bytes() const;
  std::size_t pinned_bytes() const;

  // Returns when every directory is committed, in order; throws the first error, and then the directories
  // that are not committed leave nothing behind. `on_read`: called once all tensors that may change
  // (DirectoryImage::steady) have been read, from one of the threads; not called if that never happens.
  // run_id: of durable::AtomicDirectory.
  void write(const std::vector<DirectoryImage>& images, const std::string& run_id, WriteProgress& progress,
             const std::function<void()>& on_read = {});

  // What this process has of the tensors of `images` into `to`, which another commits. Returns when it is on
  // disk. `on_read` as above.
  void write(const std::vector<DirectoryImage>& images, JointDirectories& to, WriteProgress& progress,
             const std::function<void()>& on_read = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rlcpp::hub
