// Directories of adapters: what peft writes is read, what rlcpp writes is read back, and what would mean
// something else is refused by name.
#include "model/adapter_files.h"
#include "hub/image_writer.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "model/adapter_model.h"

namespace rlcpp::model {
namespace {

// adapter_config.json as peft 0.18 writes it for the seven linear layers.
nlohmann::json peft_config() {
  return nlohmann::json::parse(R"({
    "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
    "base_model_name_or_path": "Qwen/Qwen3-0.6B", "bias": "none", "corda_config": null,
    "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
    "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
    "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.1,
    "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA",
    "peft_version": "0.18.0", "qalora_group_size": 16, "r": 4, "rank_pattern": {}, "revision": null,
    "target_modules": ["down_proj", "q_proj", "k_proj", "v_proj", "up_proj", "gate_proj", "o_proj"],
    "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false,
    "use_qalora": false, "use_rslora": false})");
}

class AdapterFiles : public ::testing::Test {
 protected:
  AdapterFiles() {
    config_.adapters = adapter_config(4, 8, "qkvogud");
    model_ = std::make_unique<TestModel>(config_, 16, Recompute::kNone, 1);
    adapters_ = std::make_unique<AdapterModel>(*model_, test::fresh_seed());
  }

  // Writes the adapters with rlcpp, then, if given, another adapter_config.json.
  std::string written(const std::string& name, const nlohmann::json& config = {}) const {
    const std::string dir = dir_ / name;
    std::vector<hub::DirectoryImage> images(1);
    images[0].path = dir;
    add_adapter_files(images[0], "", config_, adapters_->masters);
    hub::ImageWriter writer(durable::system_files(), Device{}, hub::ImageWriter::kBlock, 1);
    hub::WriteProgress progress;
    writer.write(images, "test", progress);
    if (!config.is_null())
      durable::write_file(durable::system_files(), dir + "/adapter_config.json", config.dump());
    return dir;
  }

  void expect_refused(const std::string& dir, const std::string& what, const std::string& help = "") const {
    try {
      load_adapter(config_, dir, adapters_->masters);
      ADD_FAILURE() << "not refused: " << what;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
      EXPECT_NE(e.help().find(help), std::string::npos) << e.help();
    }
  }

  test::TemporaryDirectory dir_;
  ModelConfig config_ = load_config(test::data_path("model/qwen3-tied"));
  std::unique_ptr<TestModel> model_;
  std::unique_ptr<AdapterModel> adapters_;
};

TEST_F(AdapterFiles, ComeBackWithEveryBit) {
  const std::vector<Tensor> parameters = adapters_->parameters();
  std::vector<std::vector<float>> before;
  for (const Tensor& t : parameters) before.push_back(copy_of(t));
  // With our own adapter_config.json, and with peft's.
  for (const nlohmann::json& config : {nlohmann::json(), peft_config()}) {
    const std::string dir = written(config.is_null() ? "ours" : "peft", config);
    for (const Tensor& t : parameters) std::fill_n(t.f32(), t.size(), 7.0F);
    load_adapter(config_, dir, adapters_->masters);
    for (std::size_t p = 0; p < parameters.size(); ++p)
      EXPECT_TRUE(same_bits(copy_of(parameters[p]), before[p])) << p;
  }
}

TEST_F(AdapterFiles, OurConfigSaysWhatPeftsDoes) {
  const auto ours = nlohmann::json::parse(durable::read_file(written("ours") + "/adapter_config.json"));
  const nlohmann::json peft = peft_config();
  for (const auto& [key, value] : ours.items()) {
    ASSERT_TRUE(peft.contains(key)) << key << " is no key of peft";
    if (key == "target_modules" || key == "base_model_name_or_path" || key == "lora_dropout") continue;
    EXPECT_EQ(value, peft.at(key)) << key;
  }
  EXPECT_EQ(ours.at("target_modules").size(), 7U);
}

TEST_F(AdapterFiles, WhatIsReadOfPeftsConfig) {
  nlohmann::json config = peft_config();
  config["target_modules"] = {"model.layers.0.self_attn.q_proj", "v_proj"};
  AdapterConfig read = read_adapter_config(written("a", config));
  EXPECT_EQ(read.rank, 4);
  EXPECT_EQ(read.alpha, 8);
  EXPECT_EQ(read.dropout, 0.1);
  EXPECT_EQ(read.base, "Qwen/Qwen3-0.6B");
  EXPECT_EQ(read.targets, (std::array<bool, 7>{true, false, true, false, false, false, false}));
  // alpha / sqrt(4) is 2 alpha / 4.
  config["use_rslora"] = true;
  config["target_modules"] = "all-linear";
  read = read_adapter_config(written("b", config));
  EXPECT_EQ(read.alpha, 16);
  EXPECT_EQ(read.targets, adapter_config(1, 1, "qkvogud").targets);
}

TEST_F(AdapterFiles, WhatMeansSomethingElseIsRefusedByName) {
  const std::vector<std::pair<const char*, nlohmann::json>> foreign = {{"use_dora", true},
                                                                       {"rank_pattern", {{"q_proj", 8}}},
                                                                       {"alpha_pattern", {{"q_proj", 8}}},
                                                                       {"modules_to_save", {"lm_head"}},
                                                                       {"fan_in_fan_out", true},
                                                                       {"lora_bias", true},
                                                                       {"layers_to_transform", {0}},
                                                                       {"layer_replication", {{0, 1}}},
                                                                       {"trainable_token_indices", {3}},
                                                                       {"target_parameters", {"experts.w"}},
                                                                       {"use_qalora", true},
                                                                       {"bias", "all"},
                                                                       {"init_lora_weights", "pissa_niter_4"},
                                                                       {"peft_type", "IA3"}};
  int number = 0;
  for (const auto& [key, value] : foreign) {
    nlohmann::json config = peft_config();
    config[key] = value;
    expect_refused(written("foreign" + std::to_string(number++), config), key);
  }
  nlohmann::json config = peft_config();
  config["target_modules"] = {"q_proj", "lm_head"};
  expect_refused(written("head", config), "lm_head");
  config["target_modules"] = ".*proj";
  expect_refused(written("pattern", config), "target_modules");
}

// No key is passed over: one that is missing, of a wrong type, or unknown and set, is named in a sentence of
// ours.
TEST_F(AdapterFiles, WrongKeysAreNamedAndNoLibraryIsHeard) {
  const std::vector<std::pair<const char*, std::vector<nlohmann::json>>> wrong = {
      {"r", {nullptr, "4", 4.5, true, 0, -1, {4}, 1e18, 2000000}},
      {"lora_alpha", {nullptr, "8", true, {8}}},
      {"lora_dropout", {"0.1", true, -0.1, 1.0}},
      {"target_modules", {nullptr, 3, "q_proj|v_proj", nlohmann::json::array(), {3}}},
      {"peft_type", {nullptr, 3, {"LORA"}}},
      {"base_model_name_or_path", {3, {"a"}}},
      {"bias", {false, 3, "lora_only"}},
      {"use_rslora", {"true", 1}},
      {"init_lora_weights", {3, {"gaussian"}, "pissa", "olora", "loftq", "corda", "lora_ga", "some_new_one"}},
      {"use_dora", {true, "yes", 1}},
      {"fan_in_fan_out", {true, "yes"}},
      {"exclude_modules", {"q_proj|k_proj", 3, {3}, {"model.layers.0.self_attn.q_proj"}, {"layers.0"}}},
      {"modules_to_save", {{"embed_tokens"}, "lm_head"}},
      {"layers_to_transform", {0, {0, 1}}},
      {"layers_pattern", {"h"}},
      {"a_key_of_tomorrow", {true, "on", {1}}}};
  int number = 0;
  for (const auto& [key, values] : wrong) {
    for (const nlohmann::json& value : values) {
      nlohmann::json config = peft_config();
      config[key] = value;
      const std::string dir = written("wrong" + std::to_string(number++), config);
      try {
        read_adapter_config(dir);
        ADD_FAILURE() << key << " = " << value << " was taken";
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ExitCode::kBadInput);
        EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
        EXPECT_EQ(e.render().find("json.exception"), std::string::npos) << e.render();
      }
    }
  }
  for (const char* key : {"r", "lora_alpha", "target_modules", "peft_type"}) {
    nlohmann::json config = peft_config();
    config.erase(key);
    expect_refused(written(std::string("without-") + key, config), key);
  }
}

TEST_F(AdapterFiles, ExcludedLayersHaveNoAdapter) {
  nlohmann::json config = peft_config();
  config["exclude_modules"] = {"q_proj", "down_proj", "lm_head"};
  config["init_lora_weights"] = "orthogonal";
  EXPECT_EQ(read_adapter_config(written("excluded", config)).targets,
            (std::array<bool, 7>{false, true, true, true, true, true, false}));
}

TEST_F(AdapterFiles, AnotherShapeIsRefusedWithTheKeysToSet) {
  nlohmann::json config = peft_config();
  config["r"] = 16;
  expect_refused(written("rank", config), "another adapter", "model.lora.rank = 16");
  config = peft_config();
  config["lora_alpha"] = 9;
  expect_refused(written("alpha", config), "another adapter", "model.lora.alpha = 9");
  config = peft_config();
  config["target_modules"] = {"q_proj", "v_proj"};
  expect_refused(written("targets", config), "another adapter", "[q_proj, v_proj]");
}

TEST_F(AdapterFiles, FilesThatDoNotBelongAreRefused) {
  expect_refused(dir_ / "nothing", "not a directory of adapters");
  const std::string no_weights = written("no_weights");
  std::filesystem::remove(no_weights + "/adapter_model.safetensors");
  expect_refused(no_weights, "no weights");
  const std::string broken = written("broken");
  durable::write_file(durable::system_files(), broken + "/adapter_config.json", "[1");
  expect_refused(broken, "not a JSON object");

  // The weights of other targets under a configuration that names all.
  config_.adapters = adapter_config(4, 8, "qkvogu");
  const std::string fewer = written("fewer", peft_config());
  config_.adapters = adapter_config(4, 8, "qkvogud");
  expect_refused(fewer, "down_proj.lora_A.weight' is missing");
  const std::string more = written("more");
  config_.adapters = adapter_config(4, 8, "qkvogu");
  nlohmann::json config = peft_config();
  config["target_modules"] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"};
  durable::write_file(durable::system_files(), more + "/adapter_config.json", config.dump());
  expect_refused(more, "has no place");
  config_.adapters = adapter_config(4, 8, "qkvogud");
  adapters_->parameters()[1].f32()[2] = std::numeric_limits<float>::infinity();
  expect_refused(written("infinite"), "not finite");
}

TEST_F(AdapterFiles, SavedModelsAreMergedAndRoundedOnce) {
  init_random(config_, model_->weights, 5);
  WeightSet all = model_->weights;
  all.adapters = adapters_->masters;
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const std::string dir = dir_ / (type == DType::kF32 ? "f32" : "bf16");
    save_model(config_, all, dir, type, "", std::size_t{5} << 30, true);
    EXPECT_TRUE(std::filesystem::exists(dir + "/lora_adapters/adapter_model.safetensors"));
    const hub::SafetensorsFile file(dir + "/model.safetensors");
    const hub::StoredTensor& stored = file.tensors().at("model.layers.1.mlp.up_proj.weight");
    std::vector<float> got(stored.bytes / size_of(type));
    file.read_f32(stored, got);
    const std::int64_t inner = config_.intermediate_size, in = config_.hidden_size;
    const float* w = all.layers[1].gate_up.rows(inner, inner).f32();
    const AdapterPair& pair = adapters_->masters[1].gate_up;
    for (std::int64_t n = 0; n < inner; ++n) {
      for (std::int64_t c = 0; c < in; ++c) {
        double sum = 0;
        for (std::int64_t k = 0; k < 4; ++k) {
          sum += static_cast<double>(pair.b.f32()[(inner + n) * 4 + k]) *
                 static_cast<double>(pair.a.f32()[(4 + k) * in + c]);
        }
        const double wanted = static_cast<double>(w[n * in + c]) + 2 * sum;
        const double tolerance = type == DType::kF32 ? 1e-6 : 0.0040;
        ASSERT_NEAR(got[static_cast<std::size_t>(n * in + c)], wanted, tolerance * (1 + std::abs(wanted)));
      }
    }
  }
  save_model(config_, all, dir_ / "merged only", DType::kF32, "");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "merged only/lora_adapters"));
}

}  // namespace
}  // namespace rlcpp::model
