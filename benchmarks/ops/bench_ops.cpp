// Speed of the CPU operations on this machine, as GFLOP/s and as a share of the peak of fused multiply-adds
// measured in the same run. Usage: bench_ops [threads] [seconds per case] [filter: product, attention, head,
// rows, decode].
#include <fmt/format.h>
#include <immintrin.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "ops/attention.h"
#include "ops/cpu/kernels.h"
#include "ops/head.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/optimizer.h"
#include "ops/rope.h"
#include "ops/swiglu.h"

namespace {

using rlcpp::DType;
using rlcpp::Tensor;
namespace ops = rlcpp::ops;
using Floats = std::vector<float>;
using Ints = std::vector<std::int32_t>;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Processor time of this thread: what one thread costs, even when others use the machine.
double thread_seconds() {
  timespec t = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Options {
  int threads = 1;
  double seconds = 0.2;
  std::string family = "all";
  std::string set = "all";
  std::string text;
};

// The best of several repetitions; wall-clock time, but for one thread the time that it ran.
double best_seconds(const Options& options, const std::function<void()>& run) {
  const auto clock = options.threads == 1 ? thread_seconds : now;
  run();
  double best = 1e30;
  const double end = now() + options.seconds;
  do {
    const double begin = clock();
    run();
    best = std::min(best, clock() - begin);
  } while (now() < end);
  return best;
}

// 24 independent chains of fused multiply-adds: more than latency times units.
__attribute__((target("avx512f"))) float peak_avx512(std::int64_t steps) {
  __m512 acc[24];
  for (int i = 0; i < 24; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(0.999F);
  for (std::int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) acc[i] = _mm512_fmadd_ps(acc[i], a, a);
  }
  for (int i = 1; i < 24; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  return _mm512_cvtss_f32(acc[0]);
}

__attribute__((target("avx2,fma"))) float peak_avx2(std::int64_t steps) {
  __m256 acc[12];
  for (int i = 0; i < 12; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(0.999F);
  for (std::int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = _mm256_fmadd_ps(acc[i], a, a);
  }
  for (int i = 1; i < 12; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  return _mm256_cvtss_f32(acc[0]);
}

// GFLOP/s of one core.
double measure_peak(const std::string& set) {
  constexpr std::int64_t kSteps = 200000;
  volatile float keep = 0;
  double best = 1e30;
  for (int i = 0; i < 20; ++i) {
    const double begin = thread_seconds();
    keep = set == "avx512" ? peak_avx512(kSteps) : peak_avx2(kSteps);
    best = std::min(best, thread_seconds() - begin);
  }
  (void)keep;
  const double flops = set == "avx512" ? 24.0 * 16 * 2 : 12.0 * 8 * 2;
  return flops * static_cast<double>(kSteps) / best * 1e-9;
}

Floats random_floats(std::int64_t n) {
  static std::uint64_t state = 1;
  Floats values(static_cast<std::size_t>(n));
  for (float& value : values) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    value = static_cast<float>(static_cast<std::int64_t>(state) >> 40) * 0x1p-23F;
  }
  return values;
}
Tensor view(Floats& v, std::initializer_list<std::int64_t> shape) {
  return Tensor(v.data(), DType::kF32, shape);
}
Tensor view(Ints& v, std::initializer_list<std::int64_t> shape) {
  return Tensor(v.data(), DType::kI32, shape);
}

struct Bench {
  const ops::Context& ctx;
  const Options& options;
  double peak;  // of all threads

  bool wants(const std::string& name) const { return options.family == "all" || options.family == name; }

  void report(const std::string& name, double flops, const std::function<void()>& run) const {
    if (name.find(options.text) == std::string::npos) return;
    const double seconds = best_seconds(options, run);
    fmt::print("{:<44} {:>9.1f} us {:>8.1f} GFLOP/s {:>5.1f} % of peak\n", name, seconds * 1e6,
               flops / seconds * 1e-9, 100 * flops / seconds * 1e-9 / peak);
  }

  void products() const {
    struct Shape {
      std::int64_t m, n, k;
    };
    const std::vector<Shape> shapes = {
        {1, 384, 128},     {8, 384, 128},      {64, 384, 128},     {256, 384, 128}, {4096, 384, 128},
        {4096, 128, 384},  {4096, 768, 128},   {1, 1024, 1024},    {4, 1024, 1024}, {16, 1024, 1024},
        {64, 1024, 1024},  {256, 1024, 1024},  {1024, 1024, 1024}, {1, 4096, 4096}, {16, 4096, 1024},
        {256, 4096, 1024}, {1024, 1024, 4096}, {300, 300, 300}};
    for (const Shape& s : shapes) {
      Floats x = random_floats(s.m * s.k);
      Floats w = random_floats(s.n * s.k);
      Floats y = random_floats(s.m * s.n);
      Floats packed(static_cast<std::size_t>(ops::packed_weight_size(ctx, s.n, s.k)));
      const Tensor pw = view(packed, {static_cast<std::int64_t>(packed.size())});
      ops::pack_weight(ctx, pw, view(w, {s.n, s.k}));
      const double flops = 2.0 * static_cast<double>(s.m * s.n * s.k);
      const std::string shape = fmt::format("{} x {} x {}", s.m, s.n, s.k);
      report("forward packed   " + shape, flops, [&] {
        ops::linear_forward(ctx, view(y, {s.m, s.n}), view(x, {s.m, s.k}), view(w, {s.n, s.k}), pw, Tensor());
      });
      if (s.m < 64) continue;
      report("forward          " + shape, flops, [&] {
        ops::linear_forward(ctx, view(y, {s.m, s.n}), view(x, {s.m, s.k}), view(w, {s.n, s.k}), Tensor(),
                            Tensor());
      });
      report("backward input   " + shape, flops, [&] {
        ops::linear_backward_input(ctx, view(x, {s.m, s.k}), view(y, {s.m, s.n}), view(w, {s.n, s.k}), false);
      });
      report("backward weight  " + shape, flops, [&] {
        ops::linear_backward_weight(ctx, view(w, {s.n, s.k}), view(y, {s.m, s.n}), view(x, {s.m, s.k}),
                                    false);
      });
    }
  }

  void attention() const {
    struct Case {
      ops::QkvShape shape;
      std::int64_t documents, length;
    };
    const std::vector<Case> cases = {{{4, 2, 32}, 64, 64},  {{4, 2, 32}, 8, 512},  {{8, 4, 64}, 32, 100},
                                     {{8, 4, 64}, 4, 1024}, {{16, 8, 128}, 8, 64}, {{16, 8, 128}, 1, 1024},
                                     {{2, 1, 128}, 1, 8192}};
    for (const Case& c : cases) {
      const std::int64_t rows = c.documents * c.length;
      const std::int64_t width = c.shape.width();
      const std::int64_t out_width = c.shape.num_heads * c.shape.head_dim;
      Floats qkv = random_floats(rows * width);
      Floats out = random_floats(rows * out_width);
      Floats dout = random_floats(rows * out_width);
      Floats dqkv = random_floats(rows * width);
      Floats lse = random_floats(rows * c.shape.num_heads);
      Floats delta = random_floats(rows * c.shape.num_heads);
      Ints cu;
      for (std::int64_t d = 0; d <= c.documents; ++d) cu.push_back(static_cast<std::int32_t>(d * c.length));
      const float scale = 1.0F / std::sqrt(static_cast<float>(c.shape.head_dim));
      const double flops = 2.0 * static_cast<double>(c.documents * c.length * (c.length + 1) * out_width);
      const std::string name = fmt::format("{} x {}, {}/{} heads of {}", c.documents, c.length,
                                           c.shape.num_heads, c.shape.num_kv_heads, c.shape.head_dim);
      const ops::Documents documents{view(cu, {c.documents + 1}), c.length};
      report("attention fwd  " + name, flops, [&] {
        ops::attention_forward(ctx, view(out, {rows, out_width}), view(lse, {rows, c.shape.num_heads}),
                               view(qkv, {rows, width}), documents, c.shape, scale);
      });
      report("attention bwd  " + name, 2.5 * flops, [&] {
        ops::attention_backward(ctx, view(dqkv, {rows, width}), view(dout, {rows, out_width}),
                                view(out, {rows, out_width}), view(lse, {rows, c.shape.num_heads}),
                                view(qkv, {rows, width}), view(delta, {rows, c.shape.num_heads}), documents,
                                c.shape, scale);
      });
    }
  }

  // One token of each of many sequences.
  void decode() const {
    for (const auto& [shape, sequences, length] :
         {std::tuple<ops::QkvShape, std::int64_t, std::int64_t>{{4, 2, 32}, 128, 64},
          {{8, 4, 64}, 64, 256},
          {{16, 8, 128}, 16, 1024}}) {
      const std::int64_t page_size = 16;
      const std::int64_t max_pages = length / page_size;
      const std::int64_t out_width = shape.num_heads * shape.head_dim;
      const std::int64_t pages = sequences * max_pages;
      Floats k = random_floats(pages * page_size * shape.num_kv_heads * shape.head_dim);
      Floats v = k;
      const ops::KvPages cache = {view(k, {pages, page_size, shape.num_kv_heads, shape.head_dim}),
                                  view(v, {pages, page_size, shape.num_kv_heads, shape.head_dim})};
      Ints table;
      Ints positions;
      Ints sequence_of;
      for (std::int64_t p = 0; p < pages; ++p) table.push_back(static_cast<std::int32_t>((p * 7919) % pages));
      for (std::int64_t s = 0; s < sequences; ++s) {
        positions.push_back(static_cast<std::int32_t>(length - 1));
        sequence_of.push_back(static_cast<std::int32_t>(s));
      }
      Floats qkv = random_floats(sequences * shape.width());
      Floats out = random_floats(sequences * out_width);
      const double flops = 4.0 * static_cast<double>(sequences * length * out_width);
      report(fmt::format("decode  {} x {}, {}/{} heads of {}", sequences, length, shape.num_heads,
                         shape.num_kv_heads, shape.head_dim),
             flops, [&] {
               ops::attention_paged(ctx, view(out, {sequences, out_width}),
                                    view(qkv, {sequences, shape.width()}), cache,
                                    view(positions, {sequences}), view(sequence_of, {sequences}),
                                    view(table, {sequences, max_pages}), shape, 0.1F);
             });
    }
  }

  void head() const {
    for (const auto& [rows, hidden, vocabulary] :
         {std::tuple<std::int64_t, std::int64_t, std::int64_t>{4096, 128, 300},
          {2048, 256, 4096},
          {256, 1024, 32000}}) {
      Floats h = random_floats(rows * hidden);
      Floats w = random_floats(vocabulary * hidden);
      Floats packed(static_cast<std::size_t>(ops::packed_weight_size(ctx, vocabulary, hidden)));
      const Tensor pw = view(packed, {static_cast<std::int64_t>(packed.size())});
      ops::pack_weight(ctx, pw, view(w, {vocabulary, hidden}));
      Ints targets(static_cast<std::size_t>(rows), 1);
      Floats temperatures(static_cast<std::size_t>(rows), 1.0F);
      const std::int64_t chunk = std::min<std::int64_t>(rows, 512);
      Floats logits = random_floats(chunk * vocabulary);
      Floats logprobs = random_floats(rows);
      Floats dhidden = random_floats(rows * hidden);
      Floats dw = random_floats(vocabulary * hidden);
      Floats c = random_floats(rows);
      const ops::HeadInputs in = {
          view(h, {rows, hidden}), view(w, {vocabulary, hidden}), pw,
          view(targets, {rows}),   view(temperatures, {rows}),    view(logits, {chunk, vocabulary})};
      const double flops = 2.0 * static_cast<double>(rows * hidden * vocabulary);
      const std::string shape = fmt::format("{} x {} x {}", rows, vocabulary, hidden);
      report("head logprobs  " + shape, flops,
             [&] { ops::head_logprobs(ctx, view(logprobs, {rows}), Tensor(), in); });
      report("head fused     " + shape, 3 * flops, [&] {
        ops::head_fused(ctx, view(logprobs, {rows}), Tensor(), view(dhidden, {rows, hidden}),
                        view(dw, {vocabulary, hidden}), view(c, {rows}), in);
      });
    }
  }

  // Memory-bound operations: GB/s of what must be read and written.
  void rows() const {
    const std::int64_t m = 4096;
    const auto bandwidth = [&](const std::string& name, double bytes, const std::function<void()>& run) {
      if (name.find(options.text) == std::string::npos) return;
      const double seconds = best_seconds(options, run);
      fmt::print("{:<44} {:>9.1f} us {:>8.1f} GB/s\n", name, seconds * 1e6, bytes / seconds * 1e-9);
    };
    for (const std::int64_t h : {128, 1024}) {
      Floats x = random_floats(m * h);
      Floats y = random_floats(m * h);
      Floats dy = random_floats(m * h);
      Floats wide = random_floats(m * 6 * h);
      Floats w = random_floats(h);
      Floats rstd = random_floats(m);
      const double unit = 4.0 * static_cast<double>(m * h);
      bandwidth(fmt::format("rmsnorm fwd {}", h), 2 * unit, [&] {
        ops::rmsnorm_forward(ctx, view(y, {m, h}), view(rstd, {m}), view(x, {m, h}), view(w, {h}), 1e-6F);
      });
      bandwidth(fmt::format("rmsnorm bwd {}", h), 3 * unit, [&] {
        ops::rmsnorm_backward(ctx, view(y, {m, h}), view(w, {h}), view(dy, {m, h}), view(x, {m, h}),
                              view(w, {h}), view(rstd, {m}), false);
      });
      Floats act = random_floats(m * 3 * h);
      bandwidth(fmt::format("swiglu fwd {}", 3 * h), 9 * unit, [&] {
        ops::swiglu_forward(ctx, view(act, {m, 3 * h}), view(wide, {m, 6 * h}));
      });
      Floats dwide = random_floats(m * 6 * h);
      bandwidth(fmt::format("swiglu bwd {}", 3 * h), 15 * unit, [&] {
        ops::swiglu_backward(ctx, view(dwide, {m, 6 * h}), view(act, {m, 3 * h}), view(wide, {m, 6 * h}));
      });
      const ops::QkvShape shape = {h / 32, h / 64, 32};
      Floats qkv = random_floats(m * shape.width());
      Floats out = random_floats(m * shape.width());
      Floats gain = random_floats(32);
      Floats table = random_floats(64 * 16);
      Floats qk_rstd = random_floats(m * (shape.num_heads + shape.num_kv_heads));
      Ints positions(static_cast<std::size_t>(m), 5);
      bandwidth(fmt::format("qk norm rope fwd {}", shape.width()), 4 * unit, [&] {
        ops::qk_norm_rope_forward(
            ctx, view(out, {m, shape.width()}), view(qk_rstd, {m, shape.num_heads + shape.num_kv_heads}),
            view(qkv, {m, shape.width()}), view(gain, {32}), view(gain, {32}), view(table, {64, 16}),
            view(table, {64, 16}), view(positions, {m}), shape, 1e-6F);
      });
      Floats v(x.size(), 0.5F);
      const std::int64_t n = m * h;
      bandwidth("adamw", 7 * unit, [&] {
        ops::adamw(ctx, view(x, {n}), view(y, {n}), view(v, {n}), view(dy, {n}),
                   {1e-6, 0.9, 0.999, 1e-8, 0.01, 9, 1.0F});
      });
      bandwidth("sum of squares", unit, [&] { (void)ops::sum_of_squares(ctx, view(x, {n})); });
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (argc > 1) options.threads = std::atoi(argv[1]);
  if (argc > 2) options.seconds = std::atof(argv[2]);
  if (argc > 3) options.family = argv[3];
  if (argc > 4) options.set = argv[4];
  if (argc > 5) options.text = argv[5];
  rlcpp::ThreadPool pool(options.threads);
  for (const ops::cpu::Kernels* kernels : ops::cpu::available_kernels()) {
    if (std::string(kernels->name) == "portable") continue;  // defines results, not speed
    if (options.set != "all" && options.set != kernels->name) continue;
    ops::Context ctx = ops::make_context(rlcpp::Device{}, pool);
    ctx.kernels = kernels;
    const double core = measure_peak(kernels->name);
    const Bench bench = {ctx, options, core * pool.size()};
    fmt::print("{}: {:.1f} GFLOP/s a core, {} threads\n", kernels->name, core, pool.size());
    if (bench.wants("product")) bench.products();
    if (bench.wants("attention")) bench.attention();
    if (bench.wants("decode")) bench.decode();
    if (bench.wants("head")) bench.head();
    if (bench.wants("rows")) bench.rows();
  }
  return 0;
}
