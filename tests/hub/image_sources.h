// Tensors for tests of images, and a directory of them that is written without the code under test.
#pragma once

#include <string>
#include <vector>

#include "base/durable.h"
#include "base/rng.h"
#include "hub/safetensors.h"
#include "hub/tensor_image.h"

namespace rlcpp::hub {

struct Source {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  Tensor tensor() { return Tensor(values.data(), DType::kF32, std::span<const std::int64_t>(shape)); }
};

// Tensors whose ends fall on no border of a block; a few blocks together.
inline std::vector<Source> sources(std::uint64_t seed) {
  Rng rng(seed);
  std::vector<Source> out;
  std::size_t number = 0;
  for (const std::int64_t rows : {1, 333, 70001, 5, 40007, 1}) {
    Source& s = out.emplace_back();
    s.name = "t" + std::to_string(number++);
    s.shape = {rows, 27};
    s.values.resize(static_cast<std::size_t>(27 * rows));
    for (float& v : s.values) v = rng.normal();
  }
  return out;
}

inline DirectoryImage image_of(std::vector<Source>& from, const std::string& path) {
  DirectoryImage image;
  image.path = path;
  image.facts = R"({"step": 3})";
  image.add("first.json", "{}\n");
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<ImagePart> parts;
    for (Source& s : from) parts.push_back({{s.name, type, s.shape}, s.tensor()});
    image.add(type == DType::kF32 ? "a/wide.safetensors" : "narrow.safetensors",
              TensorImage(std::move(parts), {{"format", "test"}}));
  }
  image.add("last.txt", "end");
  return image;
}

// The same directory written a file after the other, without any of the code under test.
inline void write_plainly(std::vector<Source>& from, const std::string& path) {
  durable::AtomicDirectory directory(durable::system_files(), path, "run");
  directory.add("first.json", "{}\n");
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<StoredTensor> stored;
    std::string bytes;
    for (Source& s : from) {
      stored.push_back({s.name, type, s.shape});
      for (const float v : s.values) {
        const std::uint16_t half = f32_to_bf16(v);
        if (type == DType::kF32)
          bytes.append(reinterpret_cast<const char*>(&v), 4);
        else
          bytes.append(reinterpret_cast<const char*>(&half), 2);
      }
    }
    directory.add(type == DType::kF32 ? "a/wide.safetensors" : "narrow.safetensors",
                  safetensors_header(stored, {{"format", "test"}}) + bytes);
  }
  directory.add("last.txt", "end");
  directory.commit(R"({"step": 3})");
}

}  // namespace rlcpp::hub
