// Golden models of transformers, written as llama.cpp's converter writes them, come back as they were.
#include "model/gguf_model.h"

#include <fstream>
#include <limits>
#include <map>

#include "base/durable.h"
#include "base/error.h"
#include "hub/gguf_file.h"
#include "hub/image_writer.h"
#include "model/harness.h"
#include "model/model_files.h"

namespace rlcpp::model {
namespace {

using test::GgufWriter;
using test::TemporaryDirectory;

// A second table of the names, by hand from gguf-py's tensor_mapping.py.
std::string name_in_gguf(const std::string& hf) {
  static const std::map<std::string, std::string> kNames = {{"model.embed_tokens", "token_embd"},
                                                            {"model.norm", "output_norm"},
                                                            {"lm_head", "output"},
                                                            {"input_layernorm", "attn_norm"},
                                                            {"self_attn.q_proj", "attn_q"},
                                                            {"self_attn.k_proj", "attn_k"},
                                                            {"self_attn.v_proj", "attn_v"},
                                                            {"self_attn.o_proj", "attn_output"},
                                                            {"self_attn.q_norm", "attn_q_norm"},
                                                            {"self_attn.k_norm", "attn_k_norm"},
                                                            {"mlp.gate_proj", "ffn_gate"},
                                                            {"mlp.up_proj", "ffn_up"},
                                                            {"mlp.down_proj", "ffn_down"},
                                                            {"post_attention_layernorm", "ffn_norm"}};
  const std::size_t dot = hf.rfind('.');
  std::string stem = hf.substr(0, dot), layer;
  if (stem.starts_with("model.layers.")) {
    const std::size_t end = stem.find('.', 13);
    layer = "blk." + stem.substr(13, end - 13) + ".";
    stem = stem.substr(end + 1);
  }
  return layer + kNames.at(stem) + hf.substr(dot);
}

// LlamaModel.permute: row s d/2 + i of a head becomes row 2i + s.
std::vector<float> permuted(const std::vector<float>& values, std::size_t heads, std::size_t head_dim) {
  const std::size_t width = values.size() / (heads * head_dim);
  std::vector<float> out(values.size());
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t s = 0; s < 2; ++s) {
      for (std::size_t i = 0; i < head_dim / 2; ++i) {
        for (std::size_t c = 0; c < width; ++c) {
          out[(h * head_dim + 2 * i + s) * width + c] =
              values[(h * head_dim + s * (head_dim / 2) + i) * width + c];
        }
      }
    }
  }
  return out;
}

struct Model {
  ModelConfig config;
  std::map<std::string, std::vector<float>> values;  // by HF name
  std::map<std::string, std::vector<std::uint64_t>> shapes;
};

Model golden(const std::string& name) {
  const std::string dir = test::data_path("model/" + name);
  Model model;
  model.config = load_config(dir);
  const ModelFiles files(dir);
  for (const auto& [tensor, entry] : files.tensors()) {
    std::size_t elements = 1;
    for (const std::int64_t extent : entry.tensor->shape) {
      elements *= static_cast<std::size_t>(extent);
      model.shapes[tensor].push_back(static_cast<std::uint64_t>(extent));
    }
    auto& values = model.values[tensor];
    values.resize(elements);
    entry.file->read_f32(*entry.tensor, values);
  }
  if (name == "llama3-biased") {
    // Rope numbers that published models have: the file format holds no others.
    model.config.rope.theta = 500000;
    model.config.rope.original_max_position = 8192;
  }
  return model;
}

const char* name_of_family(Family family) {
  return family == Family::kLlama ? "llama" : family == Family::kQwen2 ? "qwen2" : "qwen3";
}

void write_keys(const ModelConfig& c, GgufWriter& w) {
  const std::string arch = name_of_family(c.family), p = arch + ".";
  w.text("general.architecture", arch);
  w.u32(p + "block_count", static_cast<std::uint32_t>(c.num_layers));
  w.u32(p + "context_length", static_cast<std::uint32_t>(c.max_position));
  w.u32(p + "embedding_length", static_cast<std::uint32_t>(c.hidden_size));
  w.u32(p + "feed_forward_length", static_cast<std::uint32_t>(c.intermediate_size));
  w.u32(p + "attention.head_count", static_cast<std::uint32_t>(c.num_heads));
  w.u32(p + "attention.head_count_kv", static_cast<std::uint32_t>(c.num_kv_heads));
  w.u32(p + "attention.key_length", static_cast<std::uint32_t>(c.head_dim));
  w.u32(p + "attention.value_length", static_cast<std::uint32_t>(c.head_dim));
  w.f32(p + "attention.layer_norm_rms_epsilon", c.rms_eps);
  w.f32(p + "rope.freq_base", static_cast<float>(c.rope.theta));
  w.u32("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(c.bos_token_id));
  w.u32("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(c.eos_token_ids[0]));
  if (c.eos_token_ids.size() > 1)
    w.u32("tokenizer.ggml.eot_token_id", static_cast<std::uint32_t>(c.eos_token_ids[1]));
  if (c.rope.kind == RopeKind::kYarn) {
    w.text(p + "rope.scaling.type", "yarn");
    w.f32(p + "rope.scaling.factor", static_cast<float>(c.rope.factor));
    w.u32(p + "rope.scaling.original_context_length",
          static_cast<std::uint32_t>(c.rope.original_max_position));
    w.f32(p + "rope.scaling.yarn_beta_fast", static_cast<float>(c.rope.beta_fast));
    w.f32(p + "rope.scaling.yarn_beta_slow", static_cast<float>(c.rope.beta_slow));
  }
}

// convert_hf_to_gguf.py, LlamaModel.generate_extra_tensors.
std::vector<float> rope_factors(const ModelConfig& c) {
  std::vector<float> factors;
  for (std::int64_t i = 0; i < c.head_dim / 2; ++i) {
    const double frequency =
        std::pow(c.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim));
    const double wavelength = 2 * 3.14159265358979323846 / frequency;
    const double low = static_cast<double>(c.rope.original_max_position) / c.rope.low_freq_factor;
    const double high = static_cast<double>(c.rope.original_max_position) / c.rope.high_freq_factor;
    if (wavelength < high) {
      factors.push_back(1);
    } else if (wavelength > low) {
      factors.push_back(static_cast<float>(c.rope.factor));
    } else {
      const double smooth =
          (static_cast<double>(c.rope.original_max_position) / wavelength - c.rope.low_freq_factor) /
          (c.rope.high_freq_factor - c.rope.low_freq_factor);
      factors.push_back(static_cast<float>(1 / ((1 - smooth) / c.rope.factor + smooth)));
    }
  }
  return factors;
}

void write_tensors(const Model& model, GgufWriter& w, const std::string& without = "") {
  const ModelConfig& c = model.config;
  if (c.rope.kind == RopeKind::kLlama3)
    w.f32_tensor("rope_freqs.weight", {static_cast<std::uint64_t>(c.head_dim / 2)}, rope_factors(c));
  for (const auto& [name, values] : model.values) {
    if (name_in_gguf(name) == without) continue;
    std::vector<float> stored = values;
    if (c.family == Family::kLlama && name.find("q_proj") != std::string::npos)
      stored = permuted(values, static_cast<std::size_t>(c.num_heads), static_cast<std::size_t>(c.head_dim));
    if (c.family == Family::kLlama && name.find("k_proj") != std::string::npos)
      stored =
          permuted(values, static_cast<std::size_t>(c.num_kv_heads), static_cast<std::size_t>(c.head_dim));
    w.f32_tensor(name_in_gguf(name), model.shapes.at(name), stored);
  }
}

std::string written(const TemporaryDirectory& dir, const GgufWriter& w) {
  const std::string path = dir / "m.gguf";
  std::ofstream(path, std::ios::binary) << w.bytes();
  return path;
}

void convert(const std::string& path, const std::string& out, DType dtype, std::size_t max_shard) {
  const auto file = std::make_shared<const hub::GgufFile>(path);
  hub::ImageWriter writer(durable::system_files(), Device{}, 4 * hub::ImageWriter::kBlock, 2);
  hub::WriteProgress progress;
  writer.write({gguf_image(file, gguf_config(*file), out, dtype, {{"tokenizer.json", "{}"}}, max_shard)},
               "test", progress);
}

class GgufModel : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufModel, ComesBackBitForBit) {
  const TemporaryDirectory dir;
  const Model model = golden(GetParam());
  GgufWriter w;
  write_keys(model.config, w);
  write_tensors(model, w);
  const std::string path = written(dir, w);
  convert(path, dir / "one", DType::kF32, std::size_t{1} << 30);
  convert(path, dir / "shards", DType::kF32, 8000);
  EXPECT_EQ(to_hf_json(load_config(dir / "one"), "float32"), to_hf_json(model.config, "float32"));
  EXPECT_EQ(durable::read_file(dir / "one/tokenizer.json"), "{}");
  for (const char* name : {"one", "shards"}) {
    const ModelFiles files(dir / name);
    ASSERT_EQ(files.tensors().size(), model.values.size());
    for (const auto& [tensor, entry] : files.tensors()) {
      const auto& wanted = model.values.at(tensor);
      std::vector<float> values(wanted.size(), std::numeric_limits<float>::quiet_NaN());
      entry.file->read_f32(*entry.tensor, values);
      ASSERT_EQ(std::memcmp(values.data(), wanted.data(), values.size() * sizeof(float)), 0) << tensor;
    }
    // And it is a model that loads.
    MemoryPlan plan;
    const WeightRegions regions = plan_weights(model.config, plan, MemoryUse::kWeights, "", DType::kF32);
    const Arena arena(std::move(plan), Device{});
    load_weights(model.config, dir / name, make_weight_set(model.config, arena, regions));
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufModel,
                         ::testing::Values("llama3-biased", "qwen2-sharded", "qwen3-tied", "qwen3-yarn"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(GgufModelFile, Bf16IsKeptAndRoundedToOnRequest) {
  const TemporaryDirectory dir;
  const Model model = golden("qwen3-tied");  // its numbers are bf16's
  GgufWriter w;
  write_keys(model.config, w);
  for (const auto& [name, values] : model.values) {
    std::string data;
    const bool matrix = model.shapes.at(name).size() > 1;
    for (const float value : values) data += matrix ? test::le(f32_to_bf16(value)) : test::le(value);
    w.tensor(name_in_gguf(name), matrix ? 30 : 0, model.shapes.at(name), data);
  }
  const hub::GgufFile file(written(dir, w));
  EXPECT_EQ(gguf_dtype(file), DType::kBF16);
  convert(dir / "m.gguf", dir / "out", gguf_dtype(file), std::size_t{1} << 30);
  const ModelFiles files(dir / "out");
  for (const auto& [name, entry] : files.tensors()) {
    EXPECT_EQ(entry.tensor->dtype, DType::kBF16);
    std::vector<float> values(model.values.at(name).size());
    entry.file->read_f32(*entry.tensor, values);
    EXPECT_EQ(values, model.values.at(name)) << name;
  }
}

// The error for a file of `model` with what `change` adds; tensors but `without`.
void expect_refused(const Model& model, const std::function<void(GgufWriter&)>& change,
                    const std::string& part, const std::string& without = "") {
  const TemporaryDirectory dir;
  GgufWriter w;
  write_keys(model.config, w);
  write_tensors(model, w, without);
  change(w);
  const std::string path = written(dir, w);
  try {
    convert(path, dir / "out", DType::kF32, std::size_t{1} << 30);
    ADD_FAILURE() << "accepted: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(error.render().find(part), std::string::npos)
        << "wanted: " << part << "\ngot: " << error.render();
    EXPECT_NE(error.render().find(path), std::string::npos) << error.render();
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

TEST(GgufModelFile, RefusesWhatTheDecoderDoesNotHave) {
  const Model llama = golden("llama3-biased"), qwen3 = golden("qwen3-tied");
  expect_refused(
      qwen3, [](GgufWriter& w) { w.u32("qwen3.expert_count", 8); }, "a mixture of experts");
  expect_refused(
      qwen3, [](GgufWriter& w) { w.u32("qwen3.attention.sliding_window", 64); }, "sliding windows");
  expect_refused(
      qwen3, [](GgufWriter& w) { w.u32("split.count", 2); }, "one part of several");
  expect_refused(
      qwen3, [](GgufWriter& w) { w.f32("qwen3.attention.scale", 0.5F); }, "a scale of its own");
  expect_refused(
      qwen3, [](GgufWriter& w) { w.u32("qwen3.rope.dimension_count", 8); }, "a part of a head");
  expect_refused(
      qwen3, [](GgufWriter& w) { w.text("qwen3.rope.scaling.type", "longrope"); }, "\"longrope\"");
  expect_refused(
      qwen3,
      [](GgufWriter& w) {
        w.f32_tensor("blk.0.ffn_norm.bias", {2}, {1, 2});
      },
      "has no place for tensor 'blk.0.ffn_norm.bias'");
  expect_refused(
      qwen3,
      [](GgufWriter& w) {
        w.f32_tensor("blk.0.attn_q.bias", {2}, {1, 2});
      },
      "1 of 2 layers have attn_q.bias");
  expect_refused(
      qwen3,
      [](GgufWriter& w) {
        w.f32_tensor("rope_freqs.weight", {8}, {1, 1, 2, 3, 4, 5, 6, 7});
      },
      "other than Llama 3's");
  expect_refused(
      qwen3,
      [](GgufWriter& w) {
        w.f32_tensor("rope_freqs.weight", {2}, {1, 1});
      },
      "another length");
  const TemporaryDirectory dir;
  GgufWriter w;
  w.text("general.architecture", "mamba\x1b");
  try {
    gguf_config(hub::GgufFile(written(dir, w)));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(error.render().find("\"mamba\\x1b\" is not supported"), std::string::npos) << error.render();
  }
}

TEST(GgufModelFile, RefusesMissingMisshapenAndInfinite) {
  const Model model = golden("qwen3-tied");
  const auto nothing = [](GgufWriter&) {};
  expect_refused(model, nothing, "tensor 'blk.1.ffn_up.weight' is missing", "blk.1.ffn_up.weight");
  expect_refused(model, nothing, "token_embd.weight is no matrix", "token_embd.weight");
  expect_refused(
      model,
      [](GgufWriter& w) {
        w.f32_tensor("output_norm.weight", {2}, {1, 2});
      },
      "it is [2], and the configuration asks for [32]", "output_norm.weight");
  std::vector<float> norm(32, 1);
  norm[7] = std::numeric_limits<float>::infinity();
  expect_refused(
      model, [&](GgufWriter& w) { w.f32_tensor("output_norm.weight", {32}, norm); }, "number 7 of 32 is inf",
      "output_norm.weight");
}

}  // namespace
}  // namespace rlcpp::model
