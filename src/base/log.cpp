#include "base/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "base/utf8.h"

namespace rlcpp {
namespace {

// Characters that move the cursor, start an escape sequence, or reorder what is shown.
bool drives_terminal(char32_t c) {
  if (c < 0x20) return c != '\t';
  if (c >= 0x7f && c <= 0x9f) return true;  // DEL and the C1 set, where U+009B opens a control sequence
  return c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

struct LevelName {
  const char* text;
  const char* json;
  const char* colour;
};

LevelName name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return {"TRACE", "trace", "\x1b[2m"};
    case LogLevel::kDebug:
      return {"DEBUG", "debug", "\x1b[2m"};
    case LogLevel::kInfo:
      return {"INFO", "info", ""};
    case LogLevel::kSuccess:
      return {"SUCCESS", "success", "\x1b[32m"};
    case LogLevel::kWarn:
      return {"WARN", "warn", "\x1b[33m"};
    case LogLevel::kError:
      return {"ERROR", "error", "\x1b[31m"};
  }
  return {"INFO", "info", ""};
}

std::string clock_text(std::time_t seconds) {
  std::tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

void put(std::FILE* stream, const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stream);
  std::fflush(stream);
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Codepoint c = utf8::decode(text, i);
    if (!c.valid) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (drives_terminal(c.value)) {
      const auto value = static_cast<std::uint32_t>(c.value);
      out += value < 0x100 ? fmt::format("\\x{:02x}", value) : fmt::format("\\u{{{:04x}}}", value);
    } else {
      out += text.substr(i, c.length);
    }
    i += c.length;
  }
  return out;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Codepoint c = utf8::decode(text, i);
    if (!c.valid) {
      out += fmt::format("\\\\x{:02x}", static_cast<unsigned char>(text[i]));
    } else if (c.value == '"' || c.value == '\\') {
      out += '\\';
      out += static_cast<char>(c.value);
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (drives_terminal(c.value)) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c.value));
    } else {
      out += text.substr(i, c.length);
    }
    i += c.length;
  }
  return out + '"';
}

std::string utc_timestamp() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, milliseconds % 1000);
}

Logger::Logger(LogOptions options) : options_(std::move(options)) {
  if (!options_.file.empty()) open_file(options_.file);
}

Logger::~Logger() {
  if (file_ != nullptr) std::fclose(file_);
}

void Logger::open_file(const std::string& path) {
  std::FILE* opened = std::fopen(path.c_str(), "ae");
  if (opened == nullptr) {
    throw environment_error("cannot open the log file " + printable(path), std::strerror(errno),
                            "choose a directory that exists and can be written");
  }
  const std::lock_guard lock(mutex_);
  if (file_ != nullptr) std::fclose(file_);
  file_ = opened;
  options_.file = path;
}

void Logger::speak_as(std::string speaker, LogLevel least) {
  const std::lock_guard lock(mutex_);
  speaker_ = std::move(speaker);
  options_.level = std::max(options_.level, least);
}

void Logger::write(LogLevel level, std::string_view said) {
  if (level < options_.level) return;
  const LevelName name = name_of(level);
  const std::string message = speaker_ + std::string(said);

  std::string plain;
  std::string coloured;
  if (options_.format == LogFormat::kJson) {
    plain = fmt::format("{{\"time\": \"{}\", \"level\": \"{}\", \"message\": {}}}\n", utc_timestamp(),
                        name.json, json_string(message));
  } else {
    const std::string time = clock_text(std::time(nullptr));
    const std::string text = printable(message);
    plain = fmt::format("{} {:<7} {}\n", time, name.text, text);
    if (options_.colour) {
      coloured = fmt::format("\x1b[2m{}\x1b[0m {}{:<7}{} {}\n", time, name.colour, name.text,
                             *name.colour != '\0' ? "\x1b[0m" : "", text);
    }
  }
  const std::lock_guard lock(mutex_);
  put(options_.stream != nullptr ? options_.stream : stderr, coloured.empty() ? plain : coloured);
  if (file_ != nullptr) put(file_, plain);
}

}  // namespace rlcpp
