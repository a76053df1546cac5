#include "hub/gguf.h"

#include <fmt/format.h>

#include "base/error.h"
#include "hub/gguf_reader.h"

namespace rlcpp::hub {
namespace {

constexpr const char* kGgufHelp = "take a GGUF file of a language model";

}  // namespace

GgufFile::GgufFile(const std::string& path) : path_(path), file_(path) {
  GgufHeader header = read_gguf_header(file_.bytes(), path_);
  values_ = std::move(header.values);
  tensors_ = std::move(header.tensors);
}

const GgufValue* GgufFile::find(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

void GgufFile::missing(const std::string& key) const {
  throw bad_input(fmt::format("{}: {} is missing", path_, key), {}, kGgufHelp);
}

void GgufFile::wrong(const std::string& key, const std::string& wanted) const {
  const GgufValue& value = values_.at(key);
  std::string found = "something else";
  if (const auto* number = std::get_if<std::int64_t>(&value)) found = std::to_string(*number);
  if (const auto* number = std::get_if<double>(&value)) found = fmt::format("{}", *number);
  if (std::holds_alternative<std::string>(value)) found = "text";
  if (value.index() >= 5) found = "a list";
  throw bad_input(fmt::format("{}: {} must be {}", path_, key, wanted), "it is " + found, kGgufHelp);
}

std::int64_t GgufFile::integer(const std::string& key, std::int64_t low, std::int64_t high,
                               std::optional<std::int64_t> otherwise) const {
  const GgufValue* value = find(key);
  if (value == nullptr) {
    if (!otherwise) missing(key);
    return *otherwise;
  }
  const auto* number = std::get_if<std::int64_t>(value);
  if (number == nullptr || *number < low || *number > high) {
    wrong(key, fmt::format("a whole number from {} to {}", low, high));
  }
  return *number;
}

double GgufFile::number(const std::string& key, double low, double high,
                        std::optional<double> otherwise) const {
  const GgufValue* value = find(key);
  if (value == nullptr) {
    if (!otherwise) missing(key);
    return *otherwise;
  }
  const auto* whole = std::get_if<std::int64_t>(value);
  const auto* real = std::get_if<double>(value);
  const double found = whole != nullptr ? static_cast<double>(*whole) : real != nullptr ? *real : low - 1;
  // Written so that a NaN is out of range too.
  if (!(found >= low && found <= high)) wrong(key, fmt::format("a number from {} to {}", low, high));
  return found;
}

bool GgufFile::flag(const std::string& key, bool otherwise) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return otherwise;
  const auto* found = std::get_if<bool>(value);
  if (found == nullptr) wrong(key, "true or false");
  return *found;
}

std::string GgufFile::text(const std::string& key, std::optional<std::string> otherwise) const {
  const GgufValue* value = find(key);
  if (value == nullptr) {
    if (!otherwise) missing(key);
    return *otherwise;
  }
  const auto* found = std::get_if<std::string>(value);
  if (found == nullptr) wrong(key, "text");
  return *found;
}

const std::vector<std::string>& GgufFile::texts(const std::string& key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) missing(key);
  const auto* found = std::get_if<std::vector<std::string>>(value);
  if (found == nullptr) wrong(key, "a list of texts");
  return *found;
}

const std::vector<std::int64_t>& GgufFile::integers(const std::string& key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) missing(key);
  const auto* found = std::get_if<std::vector<std::int64_t>>(value);
  if (found == nullptr) wrong(key, "a list of whole numbers");
  return *found;
}

void GgufFile::read_f32(const GgufTensor& tensor, std::span<float> out) const {
  RLCPP_CHECK(out.size() == tensor.elements);
  dequantise(tensor.type, file_.bytes().subspan(tensor.offset, tensor.bytes), out);
}

}  // namespace rlcpp::hub
