// Directories written by a thread of its own while training goes on. The tensors of an image are read from
// where the optimizer keeps them, so the next update waits for await_read(): with a ring (hub/image_writer.h)
// for the whole state that is a copy that forward and backward hide, with a small one it is as long as the
// disk needs.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hub/image_writer.h"

namespace rlcpp::train {

// One order to write, when it is done.
struct WriteOutcome {
  std::int64_t step = 0;
  int committed = 0;           // of the directories, in their order
  std::uint64_t bytes = 0;     // of tensors, of all directories
  double read_seconds = 0;     // until no tensor was needed any more
  double seconds = 0;          // until all was committed, and `then` done
  std::exception_ptr failure;  // why not all are committed
};

class CheckpointWriter {
 public:
  // Arguments of hub::ImageWriter.
  CheckpointWriter(durable::FileLayer& files, Device device, std::size_t ring_bytes, int writers,
                   int readers = 0);
  // Waits until what is under way is written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  std::size_t ring_bytes() const;

  // Begins to write `images`, in order; nothing may be under way. `then` runs on the same thread after the
  // last commit. The caller made sure that the device has finished what it writes to the tensors.
  void start(std::int64_t step, std::vector<hub::DirectoryImage> images, const std::string& run_id,
             std::function<void()> then = {});
  // Begins some other work with the writer: it counts what it does, and calls `on_read` when no tensor is
  // needed any more.
  using Work =
      std::function<void(hub::ImageWriter&, hub::WriteProgress&, const std::function<void()>& on_read)>;
  void start(std::int64_t step, Work work);
  // The step that is being written.
  std::optional<std::int64_t> busy() const;

  // Changes as long as something moves: bytes read and written, and commits, of what was started last.
  double moved() const;

  // Returns when the tensors may change again: all are copied, or the writer has given up. Returns the
  // seconds waited. Throws runtime_failure, as wait() does, if nothing moves for ten minutes.
  double await_read();
  // The outcome of what was started, once it is done; nullopt before and after that.
  std::optional<WriteOutcome> take();
  // The same, waiting for it. Something must be under way.
  WriteOutcome wait();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rlcpp::train
