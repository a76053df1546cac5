// Progress of long work. On a terminal: one live line at the bottom, redrawn at most four times a second.
// Elsewhere: plain lines, no carriage return, at most one in ten seconds and at least one a minute as long as
// update() is called.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace rlcpp::monitor {

struct ProgressOptions {
  std::FILE* stream = nullptr;                   // nullptr: stderr
  std::optional<bool> terminal{};                // unset: asks isatty() and TERM
  bool quiet = false;                            // prints nothing at all
  std::function<void(std::string_view)> line{};  // takes whole lines, e.g. to a Logger; unset: the stream
  double (*clock)() = nullptr;                   // seconds, monotonic; for tests
};

// "tokenising  1200/5000 rows  24%  1.2k rows/s  eta 0:03", with an unknown total "tokenising  1200
// rows  1.2k rows/s  0:01".
class Progress {
 public:
  // what: "tokenising"; total <= 0: unknown; unit: "rows".
  Progress(std::string what, std::int64_t total, std::string unit, ProgressOptions options = {});
  ~Progress();  // unfinished (an exception is on its way): the live line is taken away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap enough for every item. `note` replaces the note shown at the end of the line.
  void update(std::int64_t done);
  void update(std::int64_t done, std::string_view note);
  void add(std::int64_t more = 1) { update(done_ + more); }
  // A line that stays, above the live one.
  void message(std::string_view text);
  // Leaves one last line: "tokenising  5000 rows  1.2k rows/s  0:04".
  void finish(std::string_view note = {});

 private:
  double now() const;
  std::string text() const;
  std::string rate() const;
  void draw();
  void clear();
  void print(std::string_view text);

  std::string what_, unit_, note_;
  std::int64_t total_ = 0, done_ = 0;
  ProgressOptions options_;
  bool terminal_ = false;
  bool drawn_ = false;
  bool finished_ = false;
  double begin_ = 0;
  double last_ = 0;  // when something was shown
};

}  // namespace rlcpp::monitor
