#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "bench/flops.h"

namespace rlcpp::bench {
namespace {

using Clock = std::chrono::steady_clock;

typedef float Vector4 __attribute__((vector_size(16)));
typedef float Vector8 __attribute__((vector_size(32)));
typedef float Vector16 __attribute__((vector_size(64)));

// Twelve independent chains hide the latency of the multiply-add on every processor with vectors; the sums
// are kept bounded so that no value becomes subnormal or infinite, which would change the speed. Inlined into
// functions that differ in their instruction set alone.
template <class Vector>
[[gnu::always_inline]] inline float fma_loop(long rounds, float seed) {
  Vector sum[12];
  for (auto& s : sum) s = Vector{} + seed;
  const Vector a = Vector{} + 0.999F;
  const Vector b = Vector{} + 0.001F;
  for (long i = 0; i < rounds; ++i) {
    for (auto& s : sum) s = s * a + b;
  }
  float total = 0;
  for (const auto& s : sum) total += s[0];
  return total;
}

[[gnu::target("avx512f"), gnu::optimize("O3", "fp-contract=fast")]] float loop_avx512(long rounds,
                                                                                      float seed) {
  return fma_loop<Vector16>(rounds, seed);
}
[[gnu::target("avx2,fma"), gnu::optimize("O3", "fp-contract=fast")]] float loop_avx2(long rounds,
                                                                                     float seed) {
  return fma_loop<Vector8>(rounds, seed);
}
[[gnu::optimize("O3")]] float loop_portable(long rounds, float seed) {
  return fma_loop<Vector4>(rounds, seed);
}

struct Kernel {
  float (*run)(long, float);
  int lanes;
};

Kernel widest() {
  if (__builtin_cpu_supports("avx512f")) return {loop_avx512, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {loop_avx2, 8};
  return {loop_portable, 4};
}

// One thread's rate over about `seconds`.
double rate_of_one_thread(const Kernel& kernel, double seconds) {
  constexpr long kRounds = 100000;
  volatile float sink = 0;
  double flops = 0;
  const auto begin = Clock::now();
  double elapsed = 0;
  while (elapsed < seconds) {
    sink = kernel.run(kRounds, sink * 1e-6F + 0.5F);
    flops += 2.0 * 12.0 * kernel.lanes * static_cast<double>(kRounds);
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  return flops / elapsed;
}

}  // namespace

double measure_cpu_peak_flops(int threads) {
  const Kernel kernel = widest();
  std::vector<double> rates(static_cast<std::size_t>(std::max(1, threads)));
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < rates.size(); ++i) {
    others.emplace_back([&, i] { rates[i] = rate_of_one_thread(kernel, 0.3); });
  }
  rates[0] = rate_of_one_thread(kernel, 0.3);
  for (auto& thread : others) thread.join();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

CpuPeak measure_machine_peak() {
  cpu_set_t own;
  const bool bound = sched_getaffinity(0, sizeof own, &own) == 0;
  if (bound) {
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int core = 0; core < CPU_SETSIZE; ++core) CPU_SET(core, &all);
    sched_setaffinity(0, sizeof all, &all);  // the kernel takes those of this container
  }
  CpuPeak peak;
  peak.cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  peak.flops = measure_cpu_peak_flops(peak.cores);
  if (bound) sched_setaffinity(0, sizeof own, &own);
  return peak;
}

}  // namespace rlcpp::bench
