// The file that keeps which cuBLASLt algorithm was fastest for a product, so that a run need not measure, and
// two runs that read the same file compute the same bits. One file for a GPU's name and number of
// multiprocessors, a version of cuBLASLt and of the driver: an algorithm's description means something to
// that library alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace rlcpp::ops::cuda {

// For what a file was measured.
struct AlgorithmPlace {
  std::string gpu;  // "NVIDIA H100 80GB HBM3"
  int multiprocessors = 0;
  std::size_t cublaslt = 0;  // cublasLtGetVersion()
  int driver = 0;            // cudaDriverGetVersion()
};

// A cublasLtMatmulAlgo_t, by the text of its product's key (matmul_plans.h).
using AlgorithmBits = std::array<std::uint64_t, 8>;
using AlgorithmTable = std::map<std::string, AlgorithmBits>;

// "products-NVIDIA-H100-80GB-HBM3-132-cublaslt-130002-driver-13000.json"
std::string algorithm_file_name(const AlgorithmPlace& place);

// $XDG_CACHE_HOME/rlcpp, else ~/.cache/rlcpp, as the XDG base directory specification says; empty if the
// environment names no home.
std::string default_algorithm_directory();

struct LoadedAlgorithms {
  AlgorithmTable table;
  std::string warning;  // one sentence if there is a file that cannot be used; the table is empty then
};

// Never throws for what is in the file: a missing one is an empty table, a damaged one or one of another
// place an empty table with a warning.
LoadedAlgorithms load_algorithms(const std::string& path, const AlgorithmPlace& place);

// Whole or not at all, with the directories above it; throws environment_error if the system refuses.
void save_algorithms(const std::string& path, const AlgorithmPlace& place, const AlgorithmTable& table);

}  // namespace rlcpp::ops::cuda
