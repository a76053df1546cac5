#include "bench/rollout_roofline.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "bench/flops.h"

namespace rlcpp::bench {

double RolloutShape::weight_bytes() const {
  return (layer_parameters + head_parameters) * static_cast<double>(element_bytes);
}

double RolloutShape::kv_bytes() const {
  return static_cast<double>(layers * 2 * kv_heads * head_dim * element_bytes);
}

double RolloutShape::decode_flops() const {
  return 2 * (layer_parameters + head_parameters);
}

double RolloutShape::prefill_flops(std::int64_t tokens) const {
  const auto n = static_cast<double>(tokens);
  return 2 * layer_parameters * n + 4 * static_cast<double>(layers * heads * head_dim) * n * (n + 1) / 2;
}

RolloutMachine gpu_rollout_machine(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  const bool slower = has("PCIe") || has("NVL");
  if (has("H100") && !slower) return {3.0e12, 780e12, "sustained by an H100: 3.0 TB/s, 780 TFLOP/s in bf16"};
  if (has("H200") && !slower) return {4.3e12, 780e12, "sustained by an H200: 4.3 TB/s, 780 TFLOP/s in bf16"};
  if (has("A100")) return {1.7e12, 250e12, "sustained by an A100: 1.7 TB/s, 250 TFLOP/s in bf16"};
  return {};
}

double measure_cpu_read_bandwidth(int threads) {
  RLCPP_CHECK(threads > 0);
  constexpr std::size_t kWordsEach = std::size_t{16} << 20;  // 128 MiB a thread
  constexpr int kRounds = 4;
  std::vector<std::vector<std::uint64_t>> memory(static_cast<std::size_t>(threads));
  std::vector<std::uint64_t> sums(memory.size());
  const auto all = [&](const auto& body) {
    std::vector<std::thread> workers;
    for (std::size_t t = 0; t < memory.size(); ++t) workers.emplace_back([&, t] { body(t); });
    for (std::thread& worker : workers) worker.join();
  };
  all([&](std::size_t t) { memory[t].assign(kWordsEach, t + 1); });
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    all([&](std::size_t t) {
      std::uint64_t sum[8] = {};
      const std::uint64_t* const words = memory[t].data();
      for (std::size_t i = 0; i < kWordsEach; i += 8) {
        for (std::size_t j = 0; j < 8; ++j) sum[j] += words[i + j];
      }
      for (const std::uint64_t s : sum) sums[t] += s;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, static_cast<double>(memory.size() * kWordsEach * sizeof(std::uint64_t)) / seconds);
  }
  // The sums are looked at, so that the reads are made.
  for (std::size_t t = 0; t < sums.size(); ++t) RLCPP_CHECK(sums[t] == kRounds * kWordsEach * (t + 1));
  return best;
}

RolloutMachine cpu_rollout_machine(int threads) {
  RolloutMachine out{measure_cpu_read_bandwidth(threads), measure_cpu_peak_flops(threads), {}};
  out.source = fmt::format("measured with {} threads: {:.1f} GB/s, {:.1f} GFLOP/s in f32", threads,
                           out.bytes_per_second * 1e-9, out.flops * 1e-9);
  return out;
}

namespace {

// A sequence that is being decoded.
struct Live {
  std::size_t request;
  std::int64_t made, wanted;  // tokens
};

}  // namespace

Roofline rollout_roofline(const RolloutShape& shape, const RolloutLoad& load, std::int64_t max_sequences,
                          const RolloutMachine& machine) {
  RLCPP_CHECK(machine.known() && max_sequences > 0);
  Roofline out;
  std::vector<Live> waiting;
  for (std::size_t r = 0; r < load.requests.size(); ++r) {
    const RolloutRequest& request = load.requests[r];
    const double times = load.shares ? 1 : static_cast<double>(request.n);
    out.prefill_seconds +=
        times * shape.prefill_flops(static_cast<std::int64_t>(request.prompt.size())) / machine.flops;
    for (std::int64_t i = 0; i < request.n; ++i) waiting.push_back({r, 1, request.max_tokens});
  }
  // Logits of the tokens that come with the prompts.
  const double logits = static_cast<double>(shape.vocabulary) * sizeof(float);
  out.prefill_seconds += static_cast<double>(waiting.size()) * logits / machine.bytes_per_second;

  const double attention = 4 * static_cast<double>(shape.layers * shape.heads * shape.head_dim);
  std::vector<Live> live;
  std::vector<char> seen(load.requests.size());
  std::size_t next = 0;
  for (;;) {
    std::erase_if(live, [](const Live& s) { return s.made >= s.wanted; });
    while (next < waiting.size() && static_cast<std::int64_t>(live.size()) < max_sequences) {
      if (waiting[next].wanted > 1) live.push_back(waiting[next]);
      ++next;
    }
    if (live.empty()) break;
    std::fill(seen.begin(), seen.end(), 0);
    double kept = 0, computed = 0;  // tokens whose keys and values are read; pairs of attention
    for (Live& s : live) {
      const auto prompt = static_cast<double>(load.requests[s.request].prompt.size());
      const auto own = static_cast<double>(s.made);
      computed += prompt + own;
      kept += own;
      if (!load.shares || seen[s.request] == 0) kept += prompt;
      seen[s.request] = 1;
      ++s.made;
    }
    const auto batch = static_cast<double>(live.size());
    const double kv = kept * shape.kv_bytes();
    const double memory = (shape.weight_bytes() + kv + batch * logits) / machine.bytes_per_second;
    const double products = (batch * shape.decode_flops() + attention * computed) / machine.flops;
    out.kv_bytes += kv;
    out.decode_seconds += std::max(memory, products);
    ++out.decode_steps;
  }
  return out;
}

}  // namespace rlcpp::bench
