// The least time that a rollout load can take on a device: what its memory must be read for and what its
// units must multiply, were nothing else in the way.
#pragma once

#include <cstdint>
#include <string>

#include "bench/rollout_loads.h"

namespace rlcpp::bench {

// The numbers of a decoder that the formulas read; filled by the caller from its model configuration.
struct RolloutShape {
  std::int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocabulary = 0;
  double layer_parameters = 0;  // of all products but the head
  double head_parameters = 0;
  std::int64_t element_bytes = 2;  // of weights, keys and values

  double weight_bytes() const;  // that a decode step reads
  double kv_bytes() const;      // a token
  double decode_flops() const;  // a token, without attention
  // Of a prompt of so many tokens, without the head: 2 a parameter and token, and 4 heads head_dim a pair of
  // positions and layer, n (n + 1) / 2 of them.
  double prefill_flops(std::int64_t tokens) const;
};

// What the device sustains, not what its datasheet says.
struct RolloutMachine {
  double bytes_per_second = 0, flops = 0;
  std::string source;
  bool known() const { return bytes_per_second > 0; }
};
// By the name that the driver reports; unknown for others than A100, H100 and H200. H100: 3.0 TB/s and 780
// TFLOP/s in bf16, 0.9 and 0.79 of the datasheet.
RolloutMachine gpu_rollout_machine(const std::string& name);
// Measured, with `threads` threads for about half a second: f32 multiply-adds, and reads of memory.
RolloutMachine cpu_rollout_machine(int threads);
// Bytes a second that `threads` threads read of a memory that no cache holds.
double measure_cpu_read_bandwidth(int threads);

struct Roofline {
  double prefill_seconds = 0, decode_seconds = 0;
  std::int64_t decode_steps = 0;
  double kv_bytes = 0;  // read by all decode steps
  double seconds() const { return prefill_seconds + decode_seconds; }
};
// Prompts at `flops`. Then decode steps of at most max_sequences sequences, first come, first served: each
// reads the weights, the keys and values of every sequence (those of a shared prompt once a request and step)
// and writes and reads f32 logits once; the first token of a completion comes with its prompt. A step takes
// the longer of that and of its products.
Roofline rollout_roofline(const RolloutShape& shape, const RolloutLoad& load, std::int64_t max_sequences,
                          const RolloutMachine& machine);

}  // namespace rlcpp::bench
