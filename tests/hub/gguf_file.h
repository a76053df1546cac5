// Writes GGUF files for tests, byte by byte and without the reader's code.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace rlcpp::test {

template <class T>
std::string le(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_string(const std::string& text) {
  return le<std::uint64_t>(text.size()) + text;
}

class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;

  void pair(const std::string& key, std::uint32_t type, const std::string& value) {
    pairs_ += gguf_string(key) + le(type) + value;
    ++pair_count_;
  }
  void u32(const std::string& key, std::uint32_t value) { pair(key, 4, le(value)); }
  void f32(const std::string& key, float value) { pair(key, 6, le(value)); }
  void flag(const std::string& key, bool value) { pair(key, 7, std::string(1, value ? '\1' : '\0')); }
  void text(const std::string& key, const std::string& value) { pair(key, 8, gguf_string(value)); }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = le<std::uint32_t>(8) + le<std::uint64_t>(values.size());
    for (const std::string& value : values) bytes += gguf_string(value);
    pair(key, 9, bytes);
  }
  void i32s(const std::string& key, const std::vector<std::int32_t>& values) {
    std::string bytes = le<std::uint32_t>(5) + le<std::uint64_t>(values.size());
    for (const std::int32_t value : values) bytes += le(value);
    pair(key, 9, bytes);
  }

  // `shape`: row-major; the file has it the other way round.
  void tensor(const std::string& name, std::uint32_t type, const std::vector<std::uint64_t>& shape,
              const std::string& data) {
    while (data_.size() % alignment != 0) data_.push_back('\0');
    tensor_at(name, type, shape, data_.size());
    data_ += data;
  }
  void tensor_at(const std::string& name, std::uint32_t type, const std::vector<std::uint64_t>& shape,
                 std::uint64_t offset) {
    tensors_ += gguf_string(name) + le(static_cast<std::uint32_t>(shape.size()));
    for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) tensors_ += le(*extent);
    tensors_ += le(type) + le(offset);
    ++tensor_count_;
  }
  void f32_tensor(const std::string& name, const std::vector<std::uint64_t>& shape,
                  const std::vector<float>& values) {
    std::string data(values.size() * sizeof(float), '\0');
    std::memcpy(data.data(), values.data(), data.size());
    tensor(name, 0, shape, data);
  }

  std::string bytes() const { return bytes_claiming(tensor_count_, pair_count_); }
  std::string bytes_claiming(std::uint64_t tensors, std::uint64_t pairs) const {
    std::string all = "GGUF" + le(version) + le(tensors) + le(pairs) + pairs_ + tensors_;
    while (all.size() % alignment != 0) all.push_back('\0');
    return all + data_;
  }
  std::size_t data_bytes() const { return data_.size(); }

 private:
  std::string pairs_, tensors_, data_;
  std::uint64_t pair_count_ = 0, tensor_count_ = 0;
};

}  // namespace rlcpp::test
