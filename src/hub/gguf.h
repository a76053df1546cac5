// GGUF files (ggml's docs/gguf.md): magic, version, key-value pairs, table of tensors, then their data from
// the next multiple of the alignment. Versions 2 and 3, little-endian. No count is believed before it was
// compared with the bytes that are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "hub/gguf_blocks.h"
#include "hub/mapped_file.h"

namespace rlcpp::hub {

// monostate: an array of arrays, which nothing here reads. Unsigned numbers above the largest signed one are
// that one.
using GgufValue = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                               std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<std::int64_t> shape;  // row-major, as everywhere here: the reverse of the file's order
  std::size_t offset = 0;           // in the file
  std::size_t bytes = 0;
  std::size_t elements = 0;
};

class GgufFile {
 public:
  // Throws bad_input naming file, key or tensor: a wrong magic, version or byte order, a file that ends too
  // early, counts and shapes that do not fit it, names that are there twice, tensors that overlap or leave
  // the file, types that are not read.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  const std::map<std::string, GgufValue>& values() const { return values_; }
  bool has(const std::string& key) const { return values_.contains(key); }

  // Values by key. Each throws bad_input if the key is there with another type or out of range, or is not
  // there and no `otherwise` is given.
  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high,
                       std::optional<std::int64_t> otherwise = {}) const;
  double number(const std::string& key, double low, double high, std::optional<double> otherwise = {}) const;
  bool flag(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key, std::optional<std::string> otherwise = {}) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<std::int64_t>& integers(const std::string& key) const;

  // The numbers of a tensor of this file; out.size() = tensor.elements.
  void read_f32(const GgufTensor& tensor, std::span<float> out) const;

 private:
  const GgufValue* find(const std::string& key) const;
  [[noreturn]] void missing(const std::string& key) const;
  [[noreturn]] void wrong(const std::string& key, const std::string& wanted) const;

  std::string path_;
  MappedFile file_;
  std::map<std::string, GgufValue> values_;
  std::map<std::string, GgufTensor> tensors_;
};

}  // namespace rlcpp::hub
