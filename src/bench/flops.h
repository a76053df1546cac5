// How much arithmetic a token costs, by the reference's formula and by what is really computed.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace rlcpp::bench {

// The numbers of a dense decoder that the formulas read; filled by the caller from its model configuration.
struct ModelShape {
  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t matmul_parameters = 0;   // of all products, the head once, the embedding look-up not
  std::int64_t adapter_parameters = 0;  // LoRA: A and B of one adapter; 0: full fine-tuning
};

// prime-rl trainer/perf.py: 6 P + 12 L heads (hidden / heads) T for full fine-tuning (4 P + 6 adapter + the
// same attention term for LoRA). T is the row's length, not a document's; the attention term neglects
// causality and reads hidden / heads for head_dim. Kept because the published pages use it. Recomputation is
// never counted.
double reference_flops_per_token(const ModelShape& shape, std::int64_t seq_len);

// What training one packed row computes: products as above, and for attention the exact causal work of each
// document, forward 4 heads head_dim n (n + 1) / 2 a layer, backward twice that.
double true_flops_of_row(const ModelShape& shape, std::span<const std::int64_t> document_lengths);

// Dense bf16 peak of a GPU by the name its driver reports, in FLOP/s (prime-rl's table: A100, H100, H200,
// B200 and their variants); 312e12 with `known` = false for others, as the reference assumes.
double gpu_peak_flops(const std::string& name, bool* known);

// f32 fused multiply-adds a second of this machine with `threads` threads at work, 2 FLOP each, measured for
// about 0.3 s with the widest vectors the kernels use.
double measure_cpu_peak_flops(int threads);

struct CpuPeak {
  double flops = 0;
  int cores = 0;
};
// The same with a thread a core, on all cores that there are for processes like this one: those too that a
// launcher (mpirun, srun) has kept this one process from, for its neighbours.
CpuPeak measure_machine_peak();

}  // namespace rlcpp::bench
