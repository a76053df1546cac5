// cuDNN attention at our shapes: forward, backward, deterministic backward; dense rows and packed documents.
// Times, workspace, whether the bits repeat, whether it is right, whether it can be captured into a graph.
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "cudnn_attention.h"
#include "kernels.h"
#include "matmul_data.h"
#include "sections.h"

namespace gpu_facts {
namespace {

constexpr std::size_t most_workspace = std::size_t{40} << 30;
constexpr int runs_compared = 4;

struct Case {
  std::string name;
  AttentionShape shape;
  std::vector<int> lengths;  // of the documents; a dense row is one document
};

DeviceBuffer to_device(const std::vector<int>& values) {
  DeviceBuffer buffer(values.size() * sizeof(int));
  check(cudaMemcpy(buffer.data(), values.data(), buffer.bytes(), cudaMemcpyHostToDevice), "upload");
  check(cudaDeviceSynchronize(), "upload");  // Our streams do not wait for the default one.
  return buffer;
}

const char* name(AttentionPass pass) {
  return pass == AttentionPass::forward    ? "forward"
         : pass == AttentionPass::backward ? "backward"
                                           : "backward deterministic";
}

std::vector<int> offsets(const Case& c, std::int64_t per_token) {
  std::vector<int> result = {0};
  for (const int length : c.lengths) result.push_back(result.back() + static_cast<int>(length * per_token));
  return result;
}

class Study {
 public:
  Study(CudnnAttention& cudnn, const Case& c)
      : cudnn_(cudnn),
        case_(c),
        qkv_(static_cast<std::size_t>(c.shape.tokens * c.shape.row()) * 2),
        o_(static_cast<std::size_t>(c.shape.tokens * c.shape.q_heads * AttentionShape::head_dim) * 2),
        d_o_(o_.bytes()),
        stats_(static_cast<std::size_t>(c.shape.tokens * c.shape.q_heads) * 4),
        d_qkv_(qkv_.bytes()),
        kept_(qkv_.bytes()),
        lengths_(to_device(c.lengths)),
        qkv_offsets_(to_device(offsets(c, c.shape.row()))),
        o_offsets_(to_device(offsets(c, c.shape.q_heads * AttentionShape::head_dim))),
        stats_offsets_(to_device(offsets(c, c.shape.q_heads))) {
    fill_bf16(qkv_.data(), qkv_.bytes() / 2, 1.0f, 11, stream_.get());
    fill_bf16(d_o_.data(), d_o_.bytes() / 2, 1.0f, 12, stream_.get());
    pointers_ = {qkv_.data(),     o_.data(),           stats_.data(),     d_o_.data(),          d_qkv_.data(),
                 lengths_.data(), qkv_offsets_.data(), o_offsets_.data(), stats_offsets_.data()};
  }

  void run() {
    for (const AttentionPass pass :
         {AttentionPass::forward, AttentionPass::backward, AttentionPass::backward_deterministic}) {
      guarded("attention", case_.name + " " + name(pass), [&] { measure(pass); });
    }
  }

 private:
  // Multiply-adds of the causal half, counted as in docs: 4 S^2 D / 2 a head forward, two and a half times
  // backward.
  double flops(AttentionPass pass) const {
    double squares = 0;
    for (const int length : case_.lengths) squares += static_cast<double>(length) * length;
    return 2.0 * static_cast<double>(case_.shape.q_heads * AttentionShape::head_dim) * squares *
           (pass == AttentionPass::forward ? 1.0 : 2.5);
  }

  void measure(AttentionPass pass) {
    const bool forward = pass == AttentionPass::forward;
    const auto before = std::chrono::steady_clock::now();
    const auto plan = cudnn_.plan(case_.shape, pass);
    const double build_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count();
    Json line;
    line["section"] = "attention";
    line["case"] = case_.name;
    line["pass"] = name(pass);
    line["q_heads"] = case_.shape.q_heads;
    line["documents"] = case_.shape.documents;
    line["tokens"] = case_.shape.tokens;
    line["plan"] = plan->name();
    line["plan_build_ms"] = build_ms;
    line["workspace_bytes"] = plan->workspace_bytes();
    const auto workspace_bytes = static_cast<std::size_t>(plan->workspace_bytes());
    const double workspace_mib = static_cast<double>(workspace_bytes) / (1 << 20);
    const std::string label = fmt::format("{:34s} {:22s}", case_.name, name(pass));
    if (workspace_bytes > most_workspace) {
      emit(line, fmt::format("{}: not run, workspace {:.0f} MiB", label, workspace_mib));
      return;
    }
    const DeviceBuffer workspace(workspace_bytes);
    workspace.poison(stream_.get());
    const DeviceBuffer& output = forward ? o_ : d_qkv_;
    const auto row = static_cast<std::size_t>(forward ? case_.shape.q_heads * AttentionShape::head_dim
                                                      : case_.shape.row());
    const auto tokens = static_cast<std::size_t>(case_.shape.tokens);
    const auto once = [&] { plan->run(pointers_, workspace.data(), stream_.get()); };
    output.poison(stream_.get());
    once();
    check(
        cudaMemcpyAsync(kept_.data(), output.data(), output.bytes(), cudaMemcpyDeviceToDevice, stream_.get()),
        "keep");
    Differences worst;
    std::uint64_t not_finite = 0;
    for (int i = 1; i < runs_compared; ++i) {
      output.poison(stream_.get());
      once();
      const Differences d = compare_bf16(output.data(), kept_.data(), tokens, row, stream_.get());
      if (d.values > worst.values) worst = d;
      not_finite += d.not_finite;
    }
    line["repeats_differ_in_values"] = worst.values;
    line["repeats_differ_in_rows"] = worst.rows;
    line["repeats_rms_ratio"] = worst.rms_ratio;
    line["not_finite"] = not_finite;
    check_result(pass, line);
    const double ms = median_ms(stream_.get(), once);
    line["ms"] = ms;
    line["tflops"] = 1e-9 * flops(pass) / ms;
    std::string captured = "captured";
    try {
      const Graph graph(stream_.get(), once);
      output.poison(stream_.get());
      graph.launch(stream_.get());
      const Differences d = compare_bf16(output.data(), kept_.data(), tokens, row, stream_.get());
      line["captured_values_unlike_eager"] = d.values;
      line["captured_ms"] = median_ms(stream_.get(), [&] { graph.launch(stream_.get()); });
    } catch (const std::exception& error) {
      captured = std::string("NOT captured: ") + error.what();
      line["capture_error"] = error.what();
    }
    const std::string error = line.contains("relative_error")
                                  ? fmt::format(", error {:.1e}", line["relative_error"].get<double>())
                                  : std::string();
    emit(line, fmt::format("{}: {:7.3f} ms {:4.0f} TFLOP/s, workspace {:6.0f} MiB, {}, {}{}", label, ms,
                           1e-9 * flops(pass) / ms, workspace_mib,
                           worst.values == 0 ? "bits repeat" : fmt::format("{} values differ", worst.values),
                           captured, error));
  }

  // Forward: sampled rows against f32. Backward: the deterministic result against the other.
  void check_result(AttentionPass pass, Json& line) {
    if (pass == AttentionPass::forward) {
      line["relative_error"] = forward_error();
    } else if (pass == AttentionPass::backward) {
      other_.emplace(d_qkv_.bytes());
      check(cudaMemcpyAsync(other_->data(), d_qkv_.data(), d_qkv_.bytes(), cudaMemcpyDeviceToDevice,
                            stream_.get()),
            "keep");
    } else if (other_) {
      line["relative_error"] =
          compare_bf16(d_qkv_.data(), other_->data(), static_cast<std::size_t>(case_.shape.tokens),
                       static_cast<std::size_t>(case_.shape.row()), stream_.get())
              .rms_ratio;
    }
  }

  double forward_error() {
    constexpr int samples = 96;
    std::vector<int> token, head, begin;
    const std::vector<int> starts = offsets(case_, 1);
    for (int i = 0; i < samples; ++i) {
      const int t = static_cast<int>((static_cast<std::int64_t>(i) * 7919 + 1013) % case_.shape.tokens);
      const auto after = std::upper_bound(starts.begin(), starts.end(), t);
      token.push_back(t);
      begin.push_back(*(after - 1));
      head.push_back(i % static_cast<int>(case_.shape.q_heads));
    }
    const DeviceBuffer tokens = to_device(token), heads = to_device(head), begins = to_device(begin);
    const DeviceBuffer expected(samples * 128 * 4), rounded(samples * 128 * 2), got(samples * 128 * 2);
    attention_rows(qkv_.data(), case_.shape.row(), static_cast<int>(case_.shape.q_heads),
                   static_cast<int>(case_.shape.kv_heads), tokens.as<int>(), heads.as<int>(),
                   begins.as<int>(), samples, expected.as<float>(), stream_.get());
    round_to_bf16(expected.as<float>(), rounded.data(), samples * 128, stream_.get());
    for (std::size_t i = 0; i < samples; ++i) {
      const std::int64_t at = (token[i] * case_.shape.q_heads + head[i]) * AttentionShape::head_dim * 2;
      check(cudaMemcpyAsync(got.as<char>() + i * 256, o_.as<char>() + at, 256, cudaMemcpyDeviceToDevice,
                            stream_.get()),
            "gather");
    }
    return compare_bf16(got.data(), rounded.data(), samples, 128, stream_.get()).rms_ratio;
  }

  CudnnAttention& cudnn_;
  Case case_;
  Stream stream_;
  DeviceBuffer qkv_, o_, d_o_, stats_, d_qkv_, kept_;
  DeviceBuffer lengths_, qkv_offsets_, o_offsets_, stats_offsets_;
  std::optional<DeviceBuffer> other_;
  AttentionPointers pointers_;
};

std::vector<Case> cases() {
  std::vector<Case> result;
  const std::vector<int> uneven = {3000, 1500, 1200, 900, 700, 500, 250, 142};
  const auto add = [&](std::int64_t heads, const std::string& what, std::vector<int> lengths,
                       std::int64_t longest, bool ragged) {
    AttentionShape shape;
    shape.q_heads = heads;
    shape.documents = static_cast<std::int64_t>(lengths.size());
    shape.longest = longest;
    shape.tokens = 0;
    for (const int length : lengths) shape.tokens += length;
    shape.ragged = ragged;
    result.push_back({fmt::format("{} heads, {}", heads, what), shape, std::move(lengths)});
  };
  for (const std::int64_t heads : {16, 32}) {
    add(heads, "1 row", {8192}, 8192, false);
    add(heads, "2 rows", {8192, 8192}, 8192, false);
    add(heads, "ragged 1 doc", {8192}, 8192, true);
    add(heads, "ragged 2 docs of 8192", {8192, 8192}, 8192, true);
    add(heads, "ragged 8 x 1024", std::vector<int>(8, 1024), 1024, true);
    add(heads, "ragged 8 uneven, limit 3072", uneven, 3072, true);
    add(heads, "ragged 8 uneven, limit 8192", uneven, 8192, true);
  }
  add(16, "1 row of 16384", {16384}, 16384, false);
  add(16, "1 row of 65536", {65536}, 65536, false);
  add(32, "1 row of 16384", {16384}, 16384, false);
  // A plan for any packing of a row, as one captured graph needs it: most of its documents are empty. Last,
  // because a fault would end the section.
  std::vector<int> many = uneven;
  many.resize(64, 0);
  for (const std::int64_t heads : {16, 32})
    add(heads, "ragged 64 slots, 8 used, limit 8192", many, 8192, true);
  return result;
}

}  // namespace

void attention_section() {
  CudnnAttention cudnn;
  Json line;
  line["section"] = "attention";
  line["cudnn"] = cudnn.version();
  emit(line, "cuDNN " + cudnn.version());
  for (const Case& c : cases()) guarded("attention", c.name, [&] { Study(cudnn, c).run(); });
}

}  // namespace gpu_facts
