// The log of a run: one line an event on stderr, and the same line in a file of the run directory. Stdout
// belongs to results alone. Levels, colour and format are chosen once, by the app, and passed down as a
// Logger.
#pragma once

#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

namespace rlcpp {

enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kSuccess, kWarn, kError };
enum class LogFormat : std::uint8_t { kText, kJson };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;  // lines below it are dropped, on stderr and in the file alike
  LogFormat format = LogFormat::kText;
  bool colour = false;          // already decided from --color, NO_COLOR, FORCE_COLOR, TERM and isatty
  std::string file;             // empty: none; lines there are never coloured
  std::FILE* stream = nullptr;  // nullptr: stderr; tests give another
};

// Thread-safe. A text line is "HH:MM:SS LEVEL message" in local time; a JSON line is {"time": ISO 8601 in UTC
// with milliseconds, "level": ..., "message": ...}. Control characters in a message are escaped: text of a
// model must not drive the terminal. A write that fails (disk full, closed pipe) never stops the run.
class Logger {
 public:
  // Throws environment_error if `options.file` cannot be opened.
  explicit Logger(LogOptions options = {});
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  void trace(std::string_view message) { write(LogLevel::kTrace, message); }
  void debug(std::string_view message) { write(LogLevel::kDebug, message); }
  void info(std::string_view message) { write(LogLevel::kInfo, message); }
  void success(std::string_view message) { write(LogLevel::kSuccess, message); }
  void warn(std::string_view message) { write(LogLevel::kWarn, message); }
  void error(std::string_view message) { write(LogLevel::kError, message); }
  void write(LogLevel level, std::string_view message);

  // Adds a file after construction, once the run directory exists; an earlier file is closed. Lines are
  // appended.
  void open_file(const std::string& path);
  const LogOptions& options() const { return options_; }
  // From now on every line begins with `speaker` ("rank 1: "), and those below `least` are dropped.
  void speak_as(std::string speaker, LogLevel least);

 private:
  LogOptions options_;
  std::string speaker_;
  std::FILE* file_ = nullptr;
  std::mutex mutex_;
};

// Replaces control characters (except tab), invisible direction marks and invalid UTF-8 by escapes: \n, \x1b,
// \u{202e}.
std::string printable(std::string_view text);

// `text` as a JSON string with its quotes, valid whatever the bytes: invalid UTF-8 appears as the characters
// \xNN.
std::string json_string(std::string_view text);

// Now as "2026-01-31T12:03:11.042Z", the time of JSON log lines.
std::string utc_timestamp();

}  // namespace rlcpp
