#include "monitor/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <span>

#include "monitor/append.h"

namespace rlcpp::monitor {
namespace {

namespace fs = std::filesystem;

// Protobuf wire types.
constexpr unsigned kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;
// Field numbers of Event, Summary and Summary.Value.
constexpr unsigned kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5;
constexpr unsigned kValue = 1;
constexpr unsigned kTag = 1, kSimpleValue = 2;

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, unsigned field, unsigned type) {
  put_varint(out, (field << 3) | type);
}

template <class T>
void put_raw(std::string& out, T value) {
  std::array<char, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));  // little-endian, as the format is
  out.append(bytes.data(), bytes.size());
}

void put_bytes(std::string& out, unsigned field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = durable::crc32c(std::as_bytes(std::span(bytes)));
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

std::string frame(const std::string& event) {
  std::string out;
  put_raw(out, static_cast<std::uint64_t>(event.size()));
  put_raw(out, masked_crc(std::string_view(out).substr(0, 8)));
  out += event;
  put_raw(out, masked_crc(event));
  return out;
}

template <class T>
T raw_at(std::string_view text, std::size_t offset) {
  T value{};
  std::memcpy(&value, text.data() + offset, sizeof(T));
  return value;
}

// Visits the fields of a message: visit(field, number or raw bits, bytes). False if the message is malformed.
template <class Visit>
bool for_fields(std::string_view message, Visit visit) {
  std::size_t at = 0;
  const auto varint = [&](std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; at < message.size() && shift < 64; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(message[at++]);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  };
  while (at < message.size()) {
    std::uint64_t key = 0, value = 0;
    std::string_view bytes;
    if (!varint(key)) return false;
    const auto type = static_cast<unsigned>(key & 7U);
    const std::size_t left = message.size() - at;
    if (type == kVarint) {
      if (!varint(value)) return false;
    } else if (type == kFixed64 && left >= 8) {
      value = raw_at<std::uint64_t>(message, at);
      at += 8;
    } else if (type == kFixed32 && left >= 4) {
      value = raw_at<std::uint32_t>(message, at);
      at += 4;
    } else if (type == kBytes) {
      if (!varint(value) || value > message.size() - at) return false;
      bytes = message.substr(at, value);
      at += value;
    } else {
      return false;
    }
    visit(static_cast<unsigned>(key >> 3), value, bytes);
  }
  return true;
}

TensorboardEvent parse_event(std::string_view message) {
  TensorboardEvent event;
  for_fields(message, [&](unsigned field, std::uint64_t value, std::string_view bytes) {
    if (field == kWallTime) event.wall_time = std::bit_cast<double>(value);
    if (field == kStep) event.step = static_cast<std::int64_t>(value);
    if (field == kFileVersion) event.file_version = bytes;
    if (field != kSummary) return;
    for_fields(bytes, [&](unsigned inner, std::uint64_t, std::string_view scalar) {
      if (inner != kValue) return;
      auto& entry = event.scalars.emplace_back();
      for_fields(scalar, [&](unsigned f, std::uint64_t v, std::string_view tag) {
        if (f == kTag) entry.first = tag;
        if (f == kSimpleValue) entry.second = std::bit_cast<float>(static_cast<std::uint32_t>(v));
      });
    });
  });
  return event;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  std::string text = name.data();
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

void cut(durable::FileLayer& files, const std::string& path, std::int64_t first_step) {
  const std::string text = durable::read_file(path);
  std::string kept;
  for (const TensorboardRecord& record : read_tensorboard(text)) {
    // A header has no step, and stays: the file may belong to another writer that has just started.
    if (!record.event.file_version.empty() || record.event.step < first_step) kept += record.bytes;
  }
  if (kept.size() != text.size()) durable::write_file(files, path, kept);
}

}  // namespace

std::string tensorboard_header(double wall_time) {
  std::string event;
  put_key(event, kWallTime, kFixed64);
  put_raw(event, wall_time);
  put_bytes(event, kFileVersion, "brain.Event:2");
  return frame(event);
}

std::string tensorboard_record(double wall_time, std::int64_t step,
                               const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    std::string scalar;
    put_bytes(scalar, kTag, tag);
    put_key(scalar, kSimpleValue, kFixed32);
    put_raw(scalar, static_cast<float>(value));
    put_bytes(summary, kValue, scalar);
  }
  std::string event;
  put_key(event, kWallTime, kFixed64);
  put_raw(event, wall_time);
  put_key(event, kStep, kVarint);
  put_varint(event, static_cast<std::uint64_t>(step));
  put_bytes(event, kSummary, summary);
  return frame(event);
}

std::vector<TensorboardRecord> read_tensorboard(std::string_view text, std::size_t* valid_bytes) {
  std::vector<TensorboardRecord> records;
  std::size_t at = 0;
  constexpr std::size_t kAround = 16;  // length 8, its CRC 4, CRC of the data 4
  while (text.size() - at >= kAround) {
    const auto length = raw_at<std::uint64_t>(text, at);
    if (raw_at<std::uint32_t>(text, at + 8) != masked_crc(text.substr(at, 8))) break;
    if (length > text.size() - at - kAround) break;
    const std::string_view data = text.substr(at + 12, length);
    if (raw_at<std::uint32_t>(text, at + 12 + length) != masked_crc(data)) break;
    records.push_back({parse_event(data), text.substr(at, length + kAround)});
    at += length + kAround;
  }
  if (valid_bytes != nullptr) *valid_bytes = at;
  return records;
}

TensorboardFile::TensorboardFile(durable::FileLayer& files, std::string directory, std::int64_t first_step)
    : files_(files), directory_(std::move(directory)) {
  durable::make_directories(files_, directory_);
  // A cut that was killed half way: TensorBoard would read it as one more event file.
  durable::remove_leftovers(files_, directory_);
  std::vector<std::string> earlier;
  std::error_code error;
  for (fs::directory_iterator at(directory_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with("events.out.tfevents.")) {
      earlier.push_back(at->path().string());
    }
  }
  std::sort(earlier.begin(), earlier.end());
  for (const std::string& path : earlier) cut(files_, path, first_step);
  start();
}

void TensorboardFile::start() {
  const double now = unix_time();
  const std::string stem = directory_ + "/events.out.tfevents." +
                           std::to_string(static_cast<std::int64_t>(now)) + "." + host_name() + "." +
                           std::to_string(getpid()) + ".";
  int number = 0;
  while (fs::exists(stem + std::to_string(number))) ++number;
  path_ = stem + std::to_string(number);
  append(files_, path_, tensorboard_header(now));
  files_.sync_directory(directory_);
  torn_ = false;
}

void TensorboardFile::write(double wall_time, std::int64_t step,
                            const std::vector<std::pair<std::string, double>>& scalars) {
  if (torn_) start();
  try {
    append(files_, path_, tensorboard_record(wall_time, step, scalars));
  } catch (...) {
    torn_ = true;
    throw;
  }
}

void TensorboardFile::sync() {
  sync_file(files_, path_);
}

}  // namespace rlcpp::monitor
