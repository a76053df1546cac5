// safetensors files: 8-byte little-endian header length, JSON header, then the bytes of the tensors without
// gaps. Nothing is allocated or read before its size was checked against the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace rlcpp::hub {

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::size_t offset = 0;  // in the file
  std::size_t bytes = 0;
};

// A mapped file with a verified header. Throws bad_input naming file, tensor and offset.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;

  const std::map<std::string, StoredTensor>& tensors() const;
  const std::map<std::string, std::string>& metadata() const;
  // The raw bytes (mapped, valid while this object lives).
  std::span<const std::byte> bytes(const StoredTensor& tensor) const;
  // Converted to f32 (bf16, f16, f32). out.size() must be the element count.
  void read_f32(const StoredTensor& tensor, std::span<float> out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The header bytes (length word included) of a file holding these tensors in this order, offsets computed.
std::string safetensors_header(const std::vector<StoredTensor>& tensors,
                               const std::map<std::string, std::string>& metadata);

}  // namespace rlcpp::hub
