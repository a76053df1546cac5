#include "common.h"

#include <cuda_bf16.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace gpu_facts {
namespace {

constexpr int threads = 256;

__device__ std::uint64_t mix(std::uint64_t z) {  // splitmix64's finaliser
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

__global__ void fill_kernel(__nv_bfloat16* data, std::size_t count, float deviation, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{threads} + threadIdx.x; i < count;
       i += gridDim.x * std::size_t{threads}) {
    const std::uint64_t bits = mix(seed * 0x9e3779b97f4a7c15ull + i);
    const float u = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
    const float v = static_cast<float>((bits >> 8) & 0xffffff) * 0x1p-24f;
    data[i] = __float2bfloat16(deviation * sqrtf(-2.0f * logf(u)) * cospif(2.0f * v));
  }
}

struct Counters {
  unsigned long long values, rows, not_finite;
  unsigned int largest;  // the bits of a non-negative float order like the float
  double square_difference, square_b;
};

__device__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ float to_float(float x) {
  return x;
}

template <typename T, typename Bits>
__global__ void compare_kernel(const T* a, const T* b, std::size_t columns, Counters* counters) {
  const std::size_t begin = blockIdx.x * columns;
  unsigned long long values = 0, not_finite = 0;
  float largest = 0;
  double square_difference = 0, square_b = 0;
  for (std::size_t c = threadIdx.x; c < columns; c += threads) {
    const T x = a[begin + c], y = b[begin + c];
    const float fx = to_float(x), fy = to_float(y);
    if (!isfinite(fx)) ++not_finite;
    if (reinterpret_cast<const Bits&>(x) != reinterpret_cast<const Bits&>(y)) ++values;
    if (isfinite(fx) && isfinite(fy)) {
      largest = fmaxf(largest, fabsf(fx - fy));
      square_difference += static_cast<double>(fx - fy) * (fx - fy);
      square_b += static_cast<double>(fy) * fy;
    }
  }
  const int row_differs = __syncthreads_or(values != 0);
  if (values != 0) atomicAdd(&counters->values, values);
  if (not_finite != 0) atomicAdd(&counters->not_finite, not_finite);
  if (threadIdx.x == 0 && row_differs) atomicAdd(&counters->rows, 1ull);
  if (largest > 0) {
    atomicMax(&counters->largest, __float_as_uint(largest));
    atomicAdd(&counters->square_difference, square_difference);
  }
  // One atomic a warp: the sums only feed a ratio that is printed to three digits.
  for (int step = 16; step > 0; step /= 2) square_b += __shfl_down_sync(0xffffffffu, square_b, step);
  if (threadIdx.x % 32 == 0) atomicAdd(&counters->square_b, square_b);
}

template <typename T, typename Bits>
Differences compare(const void* a, const void* b, std::size_t rows, std::size_t columns,
                    cudaStream_t stream) {
  const DeviceBuffer memory(sizeof(Counters));
  check(cudaMemsetAsync(memory.data(), 0, sizeof(Counters), stream), "clear counters");
  compare_kernel<T, Bits><<<static_cast<unsigned>(rows), threads, 0, stream>>>(
      static_cast<const T*>(a), static_cast<const T*>(b), columns, memory.as<Counters>());
  check(cudaGetLastError(), "compare");
  Counters host{};
  check(cudaMemcpyAsync(&host, memory.data(), sizeof host, cudaMemcpyDeviceToHost, stream), "read counters");
  check(cudaStreamSynchronize(stream), "compare");
  Differences result;
  result.values = host.values;
  result.rows = host.rows;
  result.not_finite = host.not_finite;
  float largest = 0;
  static_assert(sizeof largest == sizeof host.largest);
  std::copy_n(reinterpret_cast<const char*>(&host.largest), sizeof largest,
              reinterpret_cast<char*>(&largest));
  result.largest = largest;
  result.rms_ratio = host.square_b > 0 ? std::sqrt(host.square_difference / host.square_b) : 0;
  return result;
}

__global__ void hash_kernel(const std::uint32_t* words, std::size_t count, unsigned long long* sum) {
  std::uint64_t mine = 0;
  for (std::size_t i = blockIdx.x * std::size_t{threads} + threadIdx.x; i < count;
       i += gridDim.x * std::size_t{threads}) {
    mine += mix((static_cast<std::uint64_t>(words[i]) << 32) ^ i);
  }
  atomicAdd(sum, static_cast<unsigned long long>(mine));
}

__global__ void round_kernel(const float* source, __nv_bfloat16* destination, std::size_t count) {
  const std::size_t i = blockIdx.x * std::size_t{threads} + threadIdx.x;
  if (i < count) destination[i] = __float2bfloat16(source[i]);
}

__global__ void add_kernel(const float* a, const float* b, float* destination, std::size_t count) {
  const std::size_t i = blockIdx.x * std::size_t{threads} + threadIdx.x;
  if (i < count) destination[i] = a[i] + b[i];
}

__global__ void widen_kernel(const __nv_bfloat16* source, float* destination, std::size_t count) {
  const std::size_t i = blockIdx.x * std::size_t{threads} + threadIdx.x;
  if (i < count) destination[i] = __bfloat162float(source[i]);
}

unsigned blocks(std::size_t count) {
  return static_cast<unsigned>((count + threads - 1) / threads);
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(status) + ", " +
                             cudaGetErrorString(status));
  }
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  check(cudaMalloc(&data_, std::max<std::size_t>(bytes, 1)), "cudaMalloc");
}
DeviceBuffer::~DeviceBuffer() {
  cudaFree(data_);
}
void DeviceBuffer::poison(cudaStream_t stream) const {
  check(cudaMemsetAsync(data_, 0xff, bytes_, stream), "poison");
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}
Stream::~Stream() {
  cudaStreamDestroy(stream_);
}
void Stream::wait() const {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

Graph::Graph(cudaStream_t stream, const std::function<void()>& enqueue) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();  // A failed capture leaves an error that is not sticky.
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "end capture");
  const cudaError_t status = cudaGraphInstantiate(&exec_, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
}
Graph::~Graph() {
  cudaGraphExecDestroy(exec_);
}
void Graph::launch(cudaStream_t stream) const {
  check(cudaGraphLaunch(exec_, stream), "cudaGraphLaunch");
}

double median_ms(cudaStream_t stream, const std::function<void()>& work, int count) {
  const Event begin, end;
  work();
  work();
  std::vector<float> times(static_cast<std::size_t>(count));
  for (float& ms : times) {
    check(cudaEventRecord(begin.get(), stream), "record");
    work();
    check(cudaEventRecord(end.get(), stream), "record");
    check(cudaEventSynchronize(end.get()), "measured work");
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "elapsed");
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

double graph_ms(cudaStream_t stream, int calls, const std::function<void(int)>& enqueue, int count) {
  enqueue(0);  // Loads the kernel outside the capture.
  check(cudaStreamSynchronize(stream), "first call");
  const Graph graph(stream, [&] {
    for (int i = 0; i < calls; ++i) enqueue(i);
  });
  return median_ms(
             stream, [&] { graph.launch(stream); }, count) /
         calls;
}

void fill_bf16(void* data, std::size_t count, float deviation, std::uint64_t seed, cudaStream_t stream) {
  fill_kernel<<<1320, threads, 0, stream>>>(static_cast<__nv_bfloat16*>(data), count, deviation, seed);
  check(cudaGetLastError(), "fill");
}

Differences compare_bf16(const void* a, const void* b, std::size_t rows, std::size_t columns,
                         cudaStream_t stream) {
  return compare<__nv_bfloat16, std::uint16_t>(a, b, rows, columns, stream);
}

Differences compare_f32(const void* a, const void* b, std::size_t rows, std::size_t columns,
                        cudaStream_t stream) {
  return compare<float, std::uint32_t>(a, b, rows, columns, stream);
}

std::uint64_t hash_bits(const void* data, std::size_t bytes, cudaStream_t stream) {
  const DeviceBuffer sum(sizeof(unsigned long long));
  check(cudaMemsetAsync(sum.data(), 0, sum.bytes(), stream), "clear hash");
  hash_kernel<<<1320, threads, 0, stream>>>(static_cast<const std::uint32_t*>(data), bytes / 4,
                                            sum.as<unsigned long long>());
  check(cudaGetLastError(), "hash");
  unsigned long long host = 0;
  check(cudaMemcpyAsync(&host, sum.data(), sizeof host, cudaMemcpyDeviceToHost, stream), "read hash");
  check(cudaStreamSynchronize(stream), "hash");
  return host;
}

void round_to_bf16(const float* source, void* destination, std::size_t count, cudaStream_t stream) {
  round_kernel<<<blocks(count), threads, 0, stream>>>(source, static_cast<__nv_bfloat16*>(destination),
                                                      count);
  check(cudaGetLastError(), "round_to_bf16");
}

void add_f32(const float* a, const float* b, float* destination, std::size_t count, cudaStream_t stream) {
  add_kernel<<<blocks(count), threads, 0, stream>>>(a, b, destination, count);
  check(cudaGetLastError(), "add_f32");
}

void bf16_to_f32(const void* source, float* destination, std::size_t count, cudaStream_t stream) {
  widen_kernel<<<blocks(count), threads, 0, stream>>>(static_cast<const __nv_bfloat16*>(source), destination,
                                                      count);
  check(cudaGetLastError(), "bf16_to_f32");
}

}  // namespace gpu_facts
