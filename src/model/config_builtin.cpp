// Shapes of well-known models, from the config.json of each on the hub (as of January 2026).
#include <array>
#include <string_view>

#include "model/config.h"

namespace rlcpp::model {
namespace {

struct Entry {
  std::string_view id;
  std::int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim;
  bool tied;
  std::int64_t max_position;
};

// One shape may serve several ids: the context length and the special tokens are what they differ in.
constexpr std::array kQwen3 = {
    Entry{"Qwen/Qwen3-0.6B", 151936, 1024, 3072, 28, 16, 8, 128, true, 40960},
    Entry{"Qwen/Qwen3-0.6B-Base", 151936, 1024, 3072, 28, 16, 8, 128, true, 32768},
    Entry{"Qwen/Qwen3-1.7B", 151936, 2048, 6144, 28, 16, 8, 128, true, 40960},
    Entry{"Qwen/Qwen3-1.7B-Base", 151936, 2048, 6144, 28, 16, 8, 128, true, 32768},
    Entry{"Qwen/Qwen3-4B", 151936, 2560, 9728, 36, 32, 8, 128, true, 40960},
    Entry{"Qwen/Qwen3-4B-Base", 151936, 2560, 9728, 36, 32, 8, 128, true, 32768},
    Entry{"Qwen/Qwen3-4B-Instruct-2507", 151936, 2560, 9728, 36, 32, 8, 128, true, 262144},
    Entry{"Qwen/Qwen3-4B-Thinking-2507", 151936, 2560, 9728, 36, 32, 8, 128, true, 262144},
    Entry{"Qwen/Qwen3-8B", 151936, 4096, 12288, 36, 32, 8, 128, false, 40960},
    Entry{"Qwen/Qwen3-8B-Base", 151936, 4096, 12288, 36, 32, 8, 128, false, 32768},
    Entry{"Qwen/Qwen3-14B", 151936, 5120, 17408, 40, 40, 8, 128, false, 40960},
    Entry{"Qwen/Qwen3-14B-Base", 151936, 5120, 17408, 40, 40, 8, 128, false, 32768},
    Entry{"Qwen/Qwen3-32B", 151936, 5120, 25600, 64, 64, 8, 128, false, 40960},
};
constexpr std::array kQwen2 = {
    Entry{"Qwen/Qwen2.5-0.5B", 151936, 896, 4864, 24, 14, 2, 64, true, 32768},
    Entry{"Qwen/Qwen2.5-0.5B-Instruct", 151936, 896, 4864, 24, 14, 2, 64, true, 32768},
    Entry{"Qwen/Qwen2.5-1.5B", 151936, 1536, 8960, 28, 12, 2, 128, true, 131072},
    Entry{"Qwen/Qwen2.5-1.5B-Instruct", 151936, 1536, 8960, 28, 12, 2, 128, true, 32768},
    Entry{"Qwen/Qwen2.5-3B", 151936, 2048, 11008, 36, 16, 2, 128, true, 32768},
    Entry{"Qwen/Qwen2.5-3B-Instruct", 151936, 2048, 11008, 36, 16, 2, 128, true, 32768},
    Entry{"Qwen/Qwen2.5-7B", 152064, 3584, 18944, 28, 28, 4, 128, false, 131072},
    Entry{"Qwen/Qwen2.5-7B-Instruct", 152064, 3584, 18944, 28, 28, 4, 128, false, 32768},
};
constexpr std::array kLlama = {
    Entry{"meta-llama/Llama-3.2-1B", 128256, 2048, 8192, 16, 32, 8, 64, true, 131072},
    Entry{"meta-llama/Llama-3.2-1B-Instruct", 128256, 2048, 8192, 16, 32, 8, 64, true, 131072},
    Entry{"meta-llama/Llama-3.2-3B", 128256, 3072, 8192, 28, 24, 8, 128, true, 131072},
    Entry{"meta-llama/Llama-3.2-3B-Instruct", 128256, 3072, 8192, 28, 24, 8, 128, true, 131072},
    Entry{"meta-llama/Llama-3.1-8B", 128256, 4096, 14336, 32, 32, 8, 128, false, 131072},
    Entry{"meta-llama/Llama-3.1-8B-Instruct", 128256, 4096, 14336, 32, 32, 8, 128, false, 131072},
    Entry{"HuggingFaceTB/SmolLM2-135M", 49152, 576, 1536, 30, 9, 3, 64, true, 8192},
    Entry{"HuggingFaceTB/SmolLM2-135M-Instruct", 49152, 576, 1536, 30, 9, 3, 64, true, 8192},
    Entry{"HuggingFaceTB/SmolLM2-360M", 49152, 960, 2560, 32, 15, 5, 64, true, 8192},
    Entry{"HuggingFaceTB/SmolLM2-360M-Instruct", 49152, 960, 2560, 32, 15, 5, 64, true, 8192},
    Entry{"HuggingFaceTB/SmolLM2-1.7B", 49152, 2048, 8192, 24, 32, 32, 64, true, 8192},
    Entry{"HuggingFaceTB/SmolLM2-1.7B-Instruct", 49152, 2048, 8192, 24, 32, 32, 64, true, 8192},
};

ModelConfig shape_of(const Entry& entry, Family family) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = entry.vocab;
  config.hidden_size = entry.hidden;
  config.intermediate_size = entry.intermediate;
  config.num_layers = entry.layers;
  config.num_heads = entry.heads;
  config.num_kv_heads = entry.kv_heads;
  config.head_dim = entry.head_dim;
  config.tied = entry.tied;
  config.max_position = entry.max_position;
  return config;
}

ModelConfig qwen3(const Entry& entry) {
  ModelConfig config = shape_of(entry, Family::kQwen3);
  config.qk_norm = true;
  config.rope.theta = entry.id.ends_with("-2507") ? 5e6 : 1e6;
  config.bos_token_id = 151643;
  config.eos_token_ids = {entry.id.ends_with("-Base") ? 151643 : 151645};
  return config;
}

ModelConfig qwen2(const Entry& entry) {
  ModelConfig config = shape_of(entry, Family::kQwen2);
  config.qkv_bias = true;
  config.rope.theta = 1e6;
  config.bos_token_id = 151643;
  config.eos_token_ids = {entry.id.ends_with("-Instruct") ? 151645 : 151643};
  return config;
}

ModelConfig llama(const Entry& entry) {
  ModelConfig config = shape_of(entry, Family::kLlama);
  config.rms_eps = 1e-5F;
  const bool instruct = entry.id.ends_with("-Instruct");
  if (entry.id.starts_with("HuggingFaceTB/")) {
    config.rope.theta = entry.id.find("1.7B") != std::string_view::npos ? 130000.0 : 100000.0;
    config.bos_token_id = instruct ? 1 : 0;
    config.eos_token_ids = {instruct ? 2 : 0};
    return config;
  }
  config.rope.kind = RopeKind::kLlama3;
  config.rope.theta = 500000.0;
  config.rope.factor = entry.id.find("3.1-8B") != std::string_view::npos ? 8.0 : 32.0;
  config.rope.original_max_position = 8192;
  config.bos_token_id = 128000;
  config.eos_token_ids =
      instruct ? std::vector<std::int64_t>{128001, 128008, 128009} : std::vector<std::int64_t>{128001};
  return config;
}

}  // namespace

std::optional<ModelConfig> builtin_config(const std::string& model_id) {
  for (const Entry& entry : kQwen3) {
    if (entry.id == model_id) return qwen3(entry);
  }
  for (const Entry& entry : kQwen2) {
    if (entry.id == model_id) return qwen2(entry);
  }
  for (const Entry& entry : kLlama) {
    if (entry.id == model_id) return llama(entry);
  }
  return std::nullopt;
}

std::vector<std::string> builtin_model_ids() {
  std::vector<std::string> ids;
  for (const Entry& entry : kQwen3) ids.emplace_back(entry.id);
  for (const Entry& entry : kQwen2) ids.emplace_back(entry.id);
  for (const Entry& entry : kLlama) ids.emplace_back(entry.id);
  return ids;
}

}  // namespace rlcpp::model
