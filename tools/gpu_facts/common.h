// What every section of gpu_facts uses: checked CUDA calls, device memory, medians, bit comparisons, output
// lines.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace gpu_facts {

using Json = nlohmann::ordered_json;

// Throws std::runtime_error naming `what` unless the call succeeded.
void check(cudaError_t status, const char* what);

// Device memory, freed with its owner; never zeroed, because zeros hide unwritten outputs and run faster.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  // Fills with 0xFF bytes: NaN in bf16 and in f32.
  void poison(cudaStream_t stream) const;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void wait() const;

 private:
  cudaStream_t stream_ = nullptr;
};

// A captured and instantiated graph of whatever `enqueue` puts on the stream.
class Graph {
 public:
  Graph(cudaStream_t stream, const std::function<void()>& enqueue);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch(cudaStream_t stream) const;

 private:
  cudaGraphExec_t exec_ = nullptr;
};

constexpr int repeats = 9;

// Median milliseconds between device events around `work`, after two warm-up calls.
double median_ms(cudaStream_t stream, const std::function<void()>& work, int count = repeats);
// Median milliseconds of one of `calls` calls captured into a graph: launch gaps stay out of the number.
double graph_ms(cudaStream_t stream, int calls, const std::function<void(int)>& enqueue, int count = repeats);

// Fills with normal(0, deviation) numbers that depend on (seed, index) alone, rounded to bf16.
void fill_bf16(void* data, std::size_t count, float deviation, std::uint64_t seed, cudaStream_t stream);

struct Differences {
  std::uint64_t values = 0;      // elements whose bits differ
  std::uint64_t rows = 0;        // rows with at least one such element
  std::uint64_t not_finite = 0;  // elements of `a` that are NaN or infinite
  double largest = 0;            // |a - b|, over finite pairs
  double rms_ratio = 0;          // ||a - b|| / ||b||
};
// Compares two row-major matrices of bf16 (rows x columns, same row length in memory).
Differences compare_bf16(const void* a, const void* b, std::size_t rows, std::size_t columns,
                         cudaStream_t stream);
Differences compare_f32(const void* a, const void* b, std::size_t rows, std::size_t columns,
                        cudaStream_t stream);
// A hash of the bits that does not depend on the order in which threads run.
std::uint64_t hash_bits(const void* data, std::size_t bytes, cudaStream_t stream);
// destination[i] = bf16(source[i]), and destination[i] = a[i] + b[i] in f32.
void round_to_bf16(const float* source, void* destination, std::size_t count, cudaStream_t stream);
void add_f32(const float* a, const float* b, float* destination, std::size_t count, cudaStream_t stream);
void bf16_to_f32(const void* source, float* destination, std::size_t count, cudaStream_t stream);

// Prints one JSON object as a line. `row` is its line in the table at the end ("" for none).
void emit(Json line, const std::string& row);
// Runs `work` and turns an exception into an error line for `label`; true if it went through.
bool guarded(const std::string& section, const std::string& label, const std::function<void()>& work);

}  // namespace gpu_facts
