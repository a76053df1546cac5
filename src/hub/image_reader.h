// Tensors of a committed directory into memory of any device, verified while they are read, on several
// threads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/durable.h"
#include "hub/tensor_image.h"

namespace rlcpp::hub {

// Where a tensor of a file goes: to pieces of memory, which need not hold all of it; what no piece holds is
// read for its checksum alone. One tensor is a piece of its own.
struct TensorTarget {
  TensorTarget() = default;
  TensorTarget(const Tensor& whole);  // NOLINT(google-explicit-constructor)
  std::vector<std::int64_t> shape;    // as it must be stored
  DType dtype = DType::kF32;
  std::vector<TensorPiece> pieces;
};

// A safetensors file of a directory, and where each of its tensors goes.
struct TensorFileTarget {
  std::string name;                            // of the file
  std::map<std::string, TensorTarget> places;  // by the name of the tensor
};

// Fills every place. Throws bad_input naming file and tensor if one is missing, has another type or shape, or
// has no place, before anything is written; and naming file and offset if the bytes of the files do not match
// their checksums: then some places are filled and others not.
void read_tensors(const durable::VerifiedDirectory& directory, const std::vector<TensorFileTarget>& targets,
                  Device device, int threads);

}  // namespace rlcpp::hub
