#include "model/config.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "data_path.h"
#include "support.h"

namespace rlcpp::model {
namespace {

using nlohmann::json;

json qwen3_json() {
  return {{"architectures", {"Qwen3ForCausalLM"}},
          {"vocab_size", 96},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"max_position_embeddings", 256},
          {"rope_theta", 1000000.0},
          {"tie_word_embeddings", true}};
}

ModelConfig parse(const json& root) {
  return parse_config(root.dump(), "m/config.json");
}

// The refusal of a Qwen3 config with one key changed; names the file, and is one sentence of `what`.
void expect_refused(const std::string& key, const json& value, const std::string& part) {
  json root = qwen3_json();
  root[key] = value;
  try {
    parse(root);
    ADD_FAILURE() << "accepted " << key << " = " << value.dump();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(error.render().find("m/config.json: "), std::string::npos) << error.render();
    EXPECT_NE(error.render().find(part), std::string::npos)
        << "wanted: " << part << "\ngot: " << error.render();
  }
}

TEST(Config, ReadsQwen3) {
  json root = qwen3_json();
  root["eos_token_id"] = {5, 7};
  root["bos_token_id"] = 3;
  root["sliding_window"] = nullptr;
  root["use_sliding_window"] = false;
  root["max_window_layers"] = 28;
  const ModelConfig c = parse(root);
  EXPECT_EQ(c.family, Family::kQwen3);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_TRUE(c.qk_norm && c.tied);
  EXPECT_FALSE(c.qkv_bias || c.out_bias || c.mlp_bias);
  EXPECT_EQ(c.rope.theta, 1e6);
  EXPECT_EQ(c.rope.kind, RopeKind::kDefault);
  EXPECT_EQ(c.rms_eps, 1e-6F);
  EXPECT_EQ(c.bos_token_id, 3);
  EXPECT_EQ(c.eos_token_ids, (std::vector<std::int64_t>{5, 7}));
}

TEST(Config, HeadDimFollowsTransformersWhenAbsent) {
  json root = qwen3_json();
  root.erase("head_dim");
  EXPECT_EQ(parse(root).head_dim, 128);
  root["architectures"] = {"LlamaForCausalLM"};
  EXPECT_EQ(parse(root).head_dim, 8);
  root["head_dim"] = nullptr;
  EXPECT_EQ(parse(root).head_dim, 8);
}

TEST(Config, FamiliesDifferInTheirBiases) {
  json root = qwen3_json();
  root["attention_bias"] = true;
  root["mlp_bias"] = true;
  ModelConfig c = parse(root);
  EXPECT_TRUE(c.qkv_bias && c.out_bias && !c.mlp_bias);
  root["architectures"] = {"LlamaForCausalLM"};
  c = parse(root);
  EXPECT_TRUE(c.qkv_bias && c.out_bias && c.mlp_bias && !c.qk_norm);
  root["architectures"] = {"Qwen2ForCausalLM"};
  c = parse(root);
  EXPECT_TRUE(c.qkv_bias && !c.out_bias && !c.mlp_bias && !c.qk_norm);
  root.erase("architectures");
  root["model_type"] = "qwen2";
  EXPECT_EQ(parse(root).family, Family::kQwen2);
}

TEST(Config, ReadsRopeOfBothGenerations) {
  const json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  json old_style = qwen3_json();
  old_style["rope_scaling"] = yarn;
  json new_style = qwen3_json();
  new_style.erase("rope_theta");
  new_style["rope_parameters"] = yarn;
  new_style["rope_parameters"]["rope_theta"] = 1000000.0;
  json oldest = qwen3_json();
  oldest["rope_scaling"] = yarn;
  oldest["rope_scaling"].erase("rope_type");
  oldest["rope_scaling"]["type"] = "yarn";
  for (const json& root : {old_style, new_style, oldest}) {
    const RopeConfig rope = parse(root).rope;
    EXPECT_EQ(rope.kind, RopeKind::kYarn);
    EXPECT_EQ(rope.theta, 1e6);
    EXPECT_EQ(rope.factor, 4.0);
    EXPECT_EQ(rope.original_max_position, 64);
  }
  json derived = qwen3_json();
  derived["rope_scaling"] = {{"rope_type", "yarn"}, {"original_max_position_embeddings", 64}};
  EXPECT_EQ(parse(derived).rope.factor, 4.0);  // max_position_embeddings / original
}

TEST(Config, RefusesByName) {
  expect_refused("architectures", {"MistralForCausalLM"},
                 "the architecture MistralForCausalLM is not supported");
  expect_refused("architectures", {"Qwen3MoeForCausalLM"}, "Qwen3MoeForCausalLM");
  expect_refused("architectures", json::array(), "architectures is []");
  expect_refused("num_experts", 8, "a mixture of experts (num_experts)");
  expect_refused("quantization_config", {{"bits", 4}}, "a quantised model");
  expect_refused("vision_config", json::object(), "images or sound (vision_config)");
  expect_refused("layer_types", {"full_attention", "sliding_attention"}, "\"sliding_attention\"");
  expect_refused("hidden_act", "gelu", "the activation gelu");
  expect_refused("attention_dropout", 0.1, "dropout");
  expect_refused("partial_rotary_factor", 0.5, "partial rope");
  expect_refused("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}, "the rope type dynamic");
  expect_refused("rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}, "rope by layer type");
  json windows = qwen3_json();
  windows["use_sliding_window"] = true;
  windows["sliding_window"] = 128;
  windows["max_window_layers"] = 1;
  EXPECT_THROW(parse(windows), Error);
  windows["max_window_layers"] = 2;  // every layer below it: no layer uses a window
  EXPECT_NO_THROW(parse(windows));
}

TEST(Config, RefusesWrongValues) {
  expect_refused("hidden_size", nullptr, "hidden_size is missing");
  expect_refused("hidden_size", "32", "hidden_size is \"32\"");
  expect_refused("hidden_size", 0, "a whole number from 1");
  expect_refused("hidden_size", -32, "hidden_size is -32");
  expect_refused("hidden_size", 32.5, "hidden_size is 32.5");
  expect_refused("hidden_size", 18446744073709551615U, "hidden_size is 18446744073709551615");
  expect_refused("vocab_size", std::int64_t{1} << 40, "vocab_size is");
  expect_refused("num_key_value_heads", 3, "a multiple of num_key_value_heads, 3");
  expect_refused("head_dim", 15, "head_dim is 15");
  expect_refused("rms_norm_eps", -1, "rms_norm_eps is -1");
  expect_refused("tie_word_embeddings", 1, "tie_word_embeddings is 1");
  expect_refused("eos_token_id", {1, "x"}, "eos_token_id is [1,\"x\"]");
  expect_refused("rope_scaling", 3, "rope_scaling is 3");
  expect_refused("rope_scaling", {{"rope_type", "llama3"}, {"factor", 2.0}},
                 "rope_scaling.low_freq_factor is missing");
  expect_refused("rope_scaling", {{"rope_type", "linear"}, {"factor", 0}}, "rope_scaling.factor is 0");
  for (const char* text : {"", "[]", "{", "null", "\xff"})
    EXPECT_THROW(parse_config(text, "m"), Error) << text;
}

// Removing or replacing any one key never crashes: a config comes back, or an Error.
TEST(Config, SurvivesEveryKeyDamaged) {
  json root = qwen3_json();
  root["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  root["eos_token_id"] = 2;
  const std::vector<json> values = {nullptr,       true,           -1,          1e308, "x",
                                    json::array(), json::object(), {{"a", {1}}}};
  int accepted = 0, refused = 0;
  for (const auto& [key, original] : root.items()) {
    for (const json& value : values) {
      json damaged = root;
      damaged[key] = value;
      try {
        parse(damaged);
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, accepted);
}

// Anchors: prime-rl's test_perf.py for P of Qwen3-0.6B; the sizes of the others as their model cards and hub
// pages state them (sum of the elements of all stored tensors).
TEST(Config, CountsParametersOfKnownModels) {
  EXPECT_EQ(builtin_config("Qwen/Qwen3-0.6B")->matmul_parameters(), 595'984'384);
  const std::map<std::string, std::int64_t> known = {{"Qwen/Qwen3-0.6B", 596'049'920},
                                                     {"Qwen/Qwen3-1.7B", 1'720'574'976},
                                                     {"Qwen/Qwen3-4B", 4'022'468'096},
                                                     {"Qwen/Qwen3-4B-Instruct-2507", 4'022'468'096},
                                                     {"Qwen/Qwen3-8B", 8'190'735'360},
                                                     {"Qwen/Qwen3-14B", 14'768'307'200},
                                                     {"Qwen/Qwen3-32B", 32'762'123'264},
                                                     {"Qwen/Qwen2.5-0.5B", 494'032'768},
                                                     {"Qwen/Qwen2.5-1.5B", 1'543'714'304},
                                                     {"Qwen/Qwen2.5-3B", 3'085'938'688},
                                                     {"Qwen/Qwen2.5-7B-Instruct", 7'615'616'512},
                                                     {"meta-llama/Llama-3.2-1B", 1'235'814'400},
                                                     {"meta-llama/Llama-3.2-3B", 3'212'749'824},
                                                     {"meta-llama/Llama-3.1-8B-Instruct", 8'030'261'248},
                                                     {"HuggingFaceTB/SmolLM2-135M", 134'515'008},
                                                     {"HuggingFaceTB/SmolLM2-360M", 361'821'120},
                                                     {"HuggingFaceTB/SmolLM2-1.7B-Instruct", 1'711'376'384}};
  for (const auto& [id, count] : known) {
    ASSERT_TRUE(builtin_config(id)) << id;
    EXPECT_EQ(builtin_config(id)->parameters(), count) << id;
  }
  EXPECT_FALSE(builtin_config("Qwen/Qwen3"));
}

void expect_same(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.family, b.family);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.num_layers, b.num_layers);
  EXPECT_EQ(a.num_heads, b.num_heads);
  EXPECT_EQ(a.num_kv_heads, b.num_kv_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.max_position, b.max_position);
  EXPECT_EQ(a.rms_eps, b.rms_eps);
  EXPECT_EQ(a.tied, b.tied);
  EXPECT_EQ(a.qk_norm, b.qk_norm);
  EXPECT_EQ(a.qkv_bias, b.qkv_bias);
  EXPECT_EQ(a.out_bias, b.out_bias);
  EXPECT_EQ(a.mlp_bias, b.mlp_bias);
  EXPECT_EQ(a.initializer_range, b.initializer_range);
  EXPECT_EQ(a.bos_token_id, b.bos_token_id);
  EXPECT_EQ(a.eos_token_ids, b.eos_token_ids);
  EXPECT_EQ(a.rope.kind, b.rope.kind);
  EXPECT_EQ(a.rope.theta, b.rope.theta);
  EXPECT_EQ(attention_factor(a.rope), attention_factor(b.rope));
  EXPECT_EQ(inverse_frequencies(a), inverse_frequencies(b));
}

TEST(Config, SurvivesWritingAndReading) {
  for (const std::string& id : builtin_model_ids()) {
    SCOPED_TRACE(id);
    const ModelConfig config = *builtin_config(id);
    expect_same(parse_config(to_hf_json(config, "bfloat16"), "m"), config);
  }
  for (const char* name : {"qwen3-tied", "qwen2-sharded", "llama3-biased", "qwen3-yarn"}) {
    SCOPED_TRACE(name);
    std::ifstream file(test::data_path("model/") + name + "/config.json");
    std::stringstream text;
    text << file.rdbuf();
    const ModelConfig config = parse_config(text.str(), name);
    expect_same(parse_config(to_hf_json(config, "float32"), "m"), config);
  }
}

}  // namespace
}  // namespace rlcpp::model
