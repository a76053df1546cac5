// The device: name, clocks, what a bare context and the libraries take of its memory, bandwidths.
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cublaslt.h"
#include "cudnn_attention.h"
#include "kernels.h"
#include "sections.h"

namespace gpu_facts {
namespace {

// The driver's own count of used bytes, through NVML: it also sees what there was before our context.
class Nvml {
 public:
  Nvml() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW)) {
    if (library_ == nullptr) return;
    const auto init = find<int (*)()>("nvmlInit_v2");
    const auto by_index = find<int (*)(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2");
    memory_info_ = find<int (*)(void*, Memory*)>("nvmlDeviceGetMemoryInfo");
    if (init == nullptr || by_index == nullptr || init() != 0 || by_index(0, &device_) != 0)
      memory_info_ = nullptr;
  }
  std::string driver() const {
    char text[96] = "unknown";
    const auto version =
        library_ == nullptr ? nullptr : find<int (*)(char*, unsigned)>("nvmlSystemGetDriverVersion");
    if (version != nullptr) version(text, sizeof text);
    return text;
  }
  // -1 where NVML is not there.
  long long used() const {
    Memory memory{};
    return memory_info_ == nullptr || memory_info_(device_, &memory) != 0
               ? -1
               : static_cast<long long>(memory.used);
  }

 private:
  struct Memory {
    unsigned long long total, free, used;  // nvmlMemory_t
  };
  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }
  void* library_;
  void* device_ = nullptr;
  int (*memory_info_)(void*, Memory*) = nullptr;
};

class MemoryLog {
 public:
  MemoryLog(const Nvml& nvml, long long before) : nvml_(nvml), before_(before) {}
  void note(const std::string& after) {
    check(cudaDeviceSynchronize(), "synchronise");
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    const auto taken = static_cast<long long>(total - free);
    Json line;
    line["section"] = "device";
    line["memory_after"] = after;
    line["total_bytes"] = total;
    line["total_minus_free_bytes"] = taken;
    line["since_step_before_bytes"] = last_ < 0 ? taken : taken - last_;
    const long long used = nvml_.used();
    line["nvml_used_bytes"] = used;
    if (used >= 0 && before_ >= 0) line["nvml_since_start_bytes"] = used - before_;
    emit(line,
         fmt::format(
             "memory after {:34s} {:8.1f} MiB taken, {:+8.1f} MiB by this step, {:8.1f} MiB more than before "
             "the context (NVML)",
             after + ":", mib(taken), mib(last_ < 0 ? taken : taken - last_),
             used >= 0 && before_ >= 0 ? mib(used - before_) : -1.0));
    last_ = taken;
  }

 private:
  static double mib(long long bytes) { return static_cast<double>(bytes) / (1 << 20); }
  const Nvml& nvml_;
  long long before_, last_ = -1;
};

void one_product(cudaStream_t stream) {
  const DeviceBuffer x(256 * 1024 * 2), w(1024 * 1024 * 2), y(256 * 1024 * 2), workspace(lt_workspace_bytes);
  fill_bf16(x.data(), 256 * 1024, 1.0f, 1, stream);
  fill_bf16(w.data(), 1024 * 1024, 1.0f, 2, stream);
  const LtProduct product(256, 1024, 1024);
  product.run(product.proposals(1, false).front(), x.data(), w.data(), y.data(), 0, workspace, stream);
  check(cudaStreamSynchronize(stream), "a product");
}

void one_attention(CudnnAttention& cudnn, AttentionPass pass, cudaStream_t stream) {
  AttentionShape shape;
  shape.longest = shape.tokens = 1024;
  const DeviceBuffer qkv(1024 * 4096 * 2), o(1024 * 2048 * 2), d_o(1024 * 2048 * 2), d_qkv(1024 * 4096 * 2),
      stats(1024 * 16 * 4);
  fill_bf16(qkv.data(), 1024 * 4096, 1.0f, 3, stream);
  fill_bf16(o.data(), 1024 * 2048, 1.0f, 4, stream);
  fill_bf16(d_o.data(), 1024 * 2048, 1.0f, 5, stream);
  fill_bf16(stats.data(), 1024 * 16 * 2, 1.0f, 6, stream);
  AttentionPointers pointers;
  pointers.qkv = qkv.data();
  pointers.o = o.data();
  pointers.d_o = d_o.data();
  pointers.d_qkv = d_qkv.data();
  pointers.stats = stats.data();
  const auto plan = cudnn.plan(shape, pass);
  const DeviceBuffer workspace(static_cast<std::size_t>(plan->workspace_bytes()));
  plan->run(pointers, workspace.data(), stream);
  check(cudaStreamSynchronize(stream), "an attention");
}

void memory(const Nvml& nvml, long long before) {
  MemoryLog log(nvml, before);
  check(cudaFree(nullptr), "making the context");
  log.note("a bare context");
  const Stream stream;
  {
    const DeviceBuffer data(1 << 20);
    fill_bf16(data.data(), 1 << 19, 1.0f, 1, stream.get());
    stream.wait();
  }
  log.note("a stream and a kernel of ours");
  guarded("device", "cuBLASLt", [&] {
    lt_handle();
    log.note("cublasLtCreate");
    one_product(stream.get());
    log.note("a product");
  });
  guarded("device", "cuDNN", [&] {
    CudnnAttention cudnn;
    log.note("cudnnCreate");
    one_attention(cudnn, AttentionPass::forward, stream.get());
    log.note("attention forward");
    one_attention(cudnn, AttentionPass::backward, stream.get());
    log.note("attention backward");
    one_attention(cudnn, AttentionPass::backward_deterministic, stream.get());
    log.note("attention backward deterministic");
  });
  guarded("device", "graph", [&] {
    const DeviceBuffer data(132 * 128 * 4);
    const Graph graph(stream.get(), [&] {
      for (int i = 0; i < 560; ++i) tiny_kernel(data.as<float>(), 132, false, stream.get());
    });
    graph.launch(stream.get());
    log.note("a graph of 560 kernels (alive)");
  });
}

void properties(const Nvml& nvml) {
  cudaDeviceProp p{};
  check(cudaGetDeviceProperties(&p, 0), "cudaGetDeviceProperties");
  int clock_khz = 0, memory_khz = 0, driver = 0, runtime = 0;
  cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0);
  cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, 0);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const Stream stream;
  const DeviceBuffer out(3 * sizeof(std::uint64_t));
  clock_kernel(out.as<std::uint64_t>(), p.multiProcessorCount * 4, stream.get());
  std::uint64_t counts[2] = {0, 1};
  stream.wait();
  check(cudaMemcpy(counts, out.data(), sizeof counts, cudaMemcpyDeviceToHost), "clocks");
  const double mhz = 1e3 * static_cast<double>(counts[0]) / static_cast<double>(counts[1]);
  Json line;
  line["section"] = "device";
  line["name"] = p.name;
  line["driver"] = nvml.driver();
  line["cuda_driver"] = driver;
  line["cuda_runtime"] = runtime;
  line["compute"] = fmt::format("{}.{}", p.major, p.minor);
  line["multiprocessors"] = p.multiProcessorCount;
  line["l2_bytes"] = p.l2CacheSize;
  line["memory_bytes"] = p.totalGlobalMem;
  line["shared_bytes_per_block"] = p.sharedMemPerBlockOptin;
  line["clock_max_mhz"] = clock_khz / 1000;
  line["memory_clock_mhz"] = memory_khz / 1000;
  line["clock_measured_mhz"] = mhz;
  emit(line,
       fmt::format(
           "{}, driver {}, {} SMs, clock at most {} MHz, measured {:.0f} MHz under f32 work, memory {} MHz",
           p.name, nvml.driver(), p.multiProcessorCount, clock_khz / 1000, mhz, memory_khz / 1000));
}

class PinnedBuffer {
 public:
  explicit PinnedBuffer(std::size_t bytes) { check(cudaMallocHost(&data_, bytes), "cudaMallocHost"); }
  ~PinnedBuffer() { cudaFreeHost(data_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

void bandwidth(const std::string& what, std::size_t bytes, double counted, const std::function<void()>& copy,
               cudaStream_t stream) {
  const double ms = median_ms(stream, copy);
  const double rate = counted * static_cast<double>(bytes) / ms * 1e-6;
  Json line;
  line["section"] = "device";
  line["copy"] = what;
  line["bytes"] = bytes;
  line["ms"] = ms;
  line["gb_per_s"] = rate;
  emit(line, fmt::format("{:42s} {:6.0f} MiB in {:8.3f} ms: {:7.1f} GB/s", what,
                         static_cast<double>(bytes) / (1 << 20), ms, rate));
}

void bandwidths() {
  const Stream stream, other;
  const cudaStream_t s = stream.get();
  {
    const std::size_t bytes = std::size_t{2} << 30;
    const DeviceBuffer a(bytes), b(bytes);
    fill_bf16(a.data(), bytes / 2, 1.0f, 1, s);
    bandwidth(
        "device to device (read + written)", bytes, 2,
        [&] { check(cudaMemcpyAsync(b.data(), a.data(), bytes, cudaMemcpyDeviceToDevice, s), "copy"); }, s);
    bandwidth(
        "memset (written)", bytes, 1, [&] { check(cudaMemsetAsync(b.data(), 1, bytes, s), "memset"); }, s);
  }
  for (const std::size_t mib : {1, 32, 512}) {
    const std::size_t bytes = mib << 20;
    const DeviceBuffer a(bytes), b(bytes);
    fill_bf16(a.data(), bytes / 2, 1.0f, 1, s);
    const PinnedBuffer host(bytes), host_other(bytes);
    bandwidth(
        "pinned, device to host", bytes, 1,
        [&] { check(cudaMemcpyAsync(host.data(), a.data(), bytes, cudaMemcpyDeviceToHost, s), "copy"); }, s);
    bandwidth(
        "pinned, host to device", bytes, 1,
        [&] { check(cudaMemcpyAsync(a.data(), host.data(), bytes, cudaMemcpyHostToDevice, s), "copy"); }, s);
    cudaEvent_t ready = nullptr, done = nullptr;
    check(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming), "event");
    check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "event");
    bandwidth(
        "pinned, both directions at once (sum)", bytes, 2,
        [&] {
          check(cudaEventRecord(ready, s), "record");
          check(cudaStreamWaitEvent(other.get(), ready), "wait");
          check(cudaMemcpyAsync(host.data(), a.data(), bytes, cudaMemcpyDeviceToHost, s), "copy");
          check(cudaMemcpyAsync(b.data(), host_other.data(), bytes, cudaMemcpyHostToDevice, other.get()),
                "copy");
          check(cudaEventRecord(done, other.get()), "record");
          check(cudaStreamWaitEvent(s, done), "wait");
        },
        s);
    cudaEventDestroy(ready);
    cudaEventDestroy(done);
  }
}

}  // namespace

void device_section() {
  const Nvml nvml;
  const long long before = nvml.used();
  guarded("device", "memory", [&] { memory(nvml, before); });
  guarded("device", "properties", [&] { properties(nvml); });
  guarded("device", "bandwidths", [&] { bandwidths(); });
}

}  // namespace gpu_facts
