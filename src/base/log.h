// The log of a run: one line an event on stderr, and the same line in a file of the run directory. Stdout belongs to
// results alone. Levels, colour and format are chosen once, by the app, and passed down as a Logger.
#pragma once

#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

namespace rlcpp {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kSuccess, kWarn, kError };
enum class LogFormat : std::uint8_t { kText, kJson };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  bool colour = false;   // already decided from --color, NO_COLOR, FORCE_COLOR, TERM and isatty
  std::string file;      // empty: none; lines there are never coloured
};

// Thread-safe. A text line is "HH:MM:SS LEVEL message"; a JSON line is {"time": ..., "level": ..., "message": ...}.
// Control characters in a message are escaped: text of a model must not drive the terminal.
class Logger {
 public:
  explicit Logger(LogOptions options = {});
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  void debug(std::string_view message) { write(LogLevel::kDebug, message); }
  void info(std::string_view message) { write(LogLevel::kInfo, message); }
  void success(std::string_view message) { write(LogLevel::kSuccess, message); }
  void warn(std::string_view message) { write(LogLevel::kWarn, message); }
  void error(std::string_view message) { write(LogLevel::kError, message); }
  void write(LogLevel level, std::string_view message);

  // Adds a file after construction, once the run directory exists.
  void open_file(const std::string& path);
  const LogOptions& options() const { return options_; }

 private:
  LogOptions options_;
  std::FILE* file_ = nullptr;
  std::mutex mutex_;
};

// Replaces control characters (except tab) and invalid UTF-8 by escapes such as \x1b.
std::string printable(std::string_view text);

}  // namespace rlcpp
