// TensorBoard event files: TFRecord frames with masked CRC32C around Event protobufs
// (tensorflow/core/util/event.proto, written by hand: five fields). TensorBoard's own reader checks them in
// tools/check_tensorboard.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/durable.h"

namespace rlcpp::monitor {

// One framed event with a scalar for each (tag, value). wall_time: unix seconds.
std::string tensorboard_record(double wall_time, std::int64_t step,
                               const std::vector<std::pair<std::string, double>>& scalars);
// The first record of a file: file_version "brain.Event:2".
std::string tensorboard_header(double wall_time);

// An event as far as rlcpp writes them.
struct TensorboardEvent {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string file_version;
  std::vector<std::pair<std::string, float>> scalars;
};
struct TensorboardRecord {
  TensorboardEvent event;
  std::string_view bytes;  // the whole frame, within the text that was read
};
// Reads frames up to the first that is cut short or fails a checksum. `valid_bytes`: the length of the good
// part.
std::vector<TensorboardRecord> read_tensorboard(std::string_view text, std::size_t* valid_bytes = nullptr);

// Appends to one event file in `directory`, named events.out.tfevents.<unix>.<host>.<pid>.<n>.
class TensorboardFile {
 public:
  // Cuts events of steps >= first_step, and torn ends, from the event files already there; then starts a new
  // file.
  TensorboardFile(durable::FileLayer& files, std::string directory, std::int64_t first_step);
  void write(double wall_time, std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars);
  void sync();
  const std::string& path() const { return path_; }

 private:
  void start();
  durable::FileLayer& files_;
  std::string directory_;
  std::string path_;
  bool torn_ =
      false;  // a write failed half way: nothing after it could be read, so the next goes to a new file
};

}  // namespace rlcpp::monitor
