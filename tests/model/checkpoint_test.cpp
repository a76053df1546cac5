#include "model/checkpoint.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "model/harness.h"

namespace rlcpp::model {
namespace {

using hub::StoredTensor;
using nlohmann::json;
using test::TemporaryDirectory;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

Device device_of(test::BackEnd back_end) {
  return back_end == test::BackEnd::kCpu ? Device{} : Device{DeviceKind::kCuda, 0};
}

// Weights alone, poisoned until loaded.
struct Loaded {
  explicit Loaded(const ModelConfig& model, test::BackEnd back_end = test::BackEnd::kCpu) : config(model) {
    MemoryPlan plan;
    const WeightRegions regions = plan_weights(config, plan, MemoryUse::kWeights, "", DType::kF32);
    arena = std::make_unique<Arena>(std::move(plan), device_of(back_end));
    arena->poison_all();
    weights = make_weight_set(config, *arena, regions);
  }
  explicit Loaded(const std::string& dir, test::BackEnd back_end = test::BackEnd::kCpu)
      : Loaded(load_config(dir), back_end) {
    load_weights(config, dir, weights);
  }

  std::vector<float> all() const {
    std::vector<float> values;
    for (const Tensor& tensor : weights.flat) {
      const std::vector<float> part = to_floats(tensor);
      values.insert(values.end(), part.begin(), part.end());
    }
    return values;
  }
  ModelConfig config;
  std::unique_ptr<Arena> arena;
  WeightSet weights;
};

std::string golden_dir(const std::string& name) {
  return test::data_path("model/" + name);
}

class SavedModel : public ::testing::TestWithParam<Where> {
 protected:
  test::BackEnd back_end() const { return std::get<1>(GetParam()); }
  std::string golden() const { return golden_dir(std::get<0>(GetParam())); }
};

TEST_P(SavedModel, HasTheSameNumbersOnEveryDevice) {
  EXPECT_TRUE(same_bits(Loaded(golden(), back_end()).all(), Loaded(golden()).all()));
}

TEST_P(SavedModel, ComesBackBitForBit) {
  const TemporaryDirectory dir;
  const Loaded original(golden(), back_end());
  write(dir / "tokenizer.json", "{}");
  write(dir / "secret.txt", "not a tokenizer file");
  save_model(original.config, original.weights, dir / "single", DType::kF32, dir.path());
  save_model(original.config, original.weights, dir / "shards", DType::kF32, "", 20000);
  EXPECT_EQ(read(dir / "single/tokenizer.json"), "{}");
  EXPECT_FALSE(std::filesystem::exists(dir / "single/secret.txt"));
  EXPECT_FALSE(std::filesystem::exists(dir / "shards/model.safetensors"));
  for (const char* name : {"single", "shards"}) {
    ThreadPool pool(3);
    Loaded back(load_config(dir / name), back_end());
    load_weights(back.config, dir / name, back.weights, &pool);
    EXPECT_TRUE(same_bits(back.all(), original.all())) << name;
    EXPECT_EQ(back.config.eos_token_ids, original.config.eos_token_ids);
    EXPECT_EQ(inverse_frequencies(back.config), inverse_frequencies(original.config));
  }
}

TEST_P(SavedModel, RoundsToBf16Once) {
  const TemporaryDirectory dir;
  const Loaded original(golden(), back_end());
  save_model(original.config, original.weights, dir / "a", DType::kBF16, "");
  const Loaded once(dir / "a");
  std::vector<float> rounded = original.all();
  for (float& value : rounded) value = bf16_to_f32(f32_to_bf16(value));
  EXPECT_TRUE(same_bits(once.all(), rounded));
}

INSTANTIATE_TEST_SUITE_P(All, SavedModel, everywhere(), where_name);

// A directory whose tensors a test edits before it is written: name → (shape, values as f32).
class EditedModel {
 public:
  explicit EditedModel(const std::string& name) {
    const Loaded model(golden_dir(name));
    write(dir_ / "config.json", read(golden_dir(name) + "/config.json"));
    const std::vector<ParameterInfo> list = parameter_list(model.config);
    for (std::size_t p = 0; p < list.size(); ++p) {
      for (const HfSlice& slice : list[p].slices) {
        tensors[slice.name] = {slice.shape, copy_of(model.weights.flat[p].rows(slice.row, slice.shape[0]))};
      }
    }
  }

  using Values = std::pair<std::vector<std::int64_t>, std::vector<float>>;
  std::map<std::string, Values> tensors;

  void write_file(const std::string& name, const std::map<std::string, Values>& part) const {
    std::vector<StoredTensor> stored;
    std::string data;
    for (const auto& [tensor, values] : part) {
      stored.push_back({tensor, DType::kF32, values.first, 0, 0});
      data.append(reinterpret_cast<const char*>(values.second.data()), values.second.size() * 4);
    }
    write(dir_ / name, hub::safetensors_header(stored, {{"format", "pt"}}) + data);
  }
  const TemporaryDirectory& dir() const { return dir_; }

  // The refusal of the directory as it lies there.
  void expect_refused(const std::vector<std::string>& parts) const {
    try {
      const Loaded loaded(dir_.path());
      ADD_FAILURE() << "accepted; wanted " << parts.at(0);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      for (const std::string& part : parts) {
        EXPECT_NE(error.render().find(part), std::string::npos)
            << "wanted: " << part << "\ngot: " << error.render();
      }
    }
  }

 private:
  TemporaryDirectory dir_;
};

TEST(LoadWeights, NumbersThatAreNotFiniteAreRefused) {
  EditedModel model("qwen3-tied");
  const auto all = model.tensors;
  for (const float bad : {std::nanf(""), -INFINITY}) {
    model.tensors = all;
    model.tensors.at("model.layers.1.self_attn.k_proj.weight").second.at(7) = bad;
    model.write_file("model.safetensors", model.tensors);
    model.expect_refused({"model.safetensors: tensor 'model.layers.1.self_attn.k_proj.weight' holds",
                          "not finite", "at offset 7 of its"});
  }
}

TEST(LoadWeights, ADirectoryThatRlcppWroteIsVerified) {
  const TemporaryDirectory dir;
  const Loaded original(golden_dir("qwen3-tied"));
  save_model(original.config, original.weights, dir / "m", DType::kF32, "");
  const std::string file = dir / "m/model.safetensors";
  std::string bytes = read(file);
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 1);  // still a number
  write(file, bytes);
  try {
    const Loaded loaded(dir / "m");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(error.render().find("model.safetensors does not verify"), std::string::npos) << error.render();
    EXPECT_NE(error.render().find("remove " + (dir / "m/manifest.json")), std::string::npos);
  }
  write(dir / "m/manifest.json", "{\"files\": 3}");  // somebody else's
  EXPECT_NO_THROW(Loaded(dir / "m"));
  std::filesystem::remove(dir / "m/manifest.json");
  EXPECT_NO_THROW(Loaded(dir / "m"));
}

TEST(LoadWeights, NamesWhatIsMissingOrMisshapen) {
  EditedModel model("qwen3-tied");
  model.expect_refused({"no model weights", "neither model.safetensors"});
  const auto all = model.tensors;
  model.tensors.erase("model.layers.1.self_attn.k_norm.weight");
  model.write_file("model.safetensors", model.tensors);
  model.expect_refused({"tensor 'model.layers.1.self_attn.k_norm.weight' is missing", "[16]"});

  model.tensors = all;
  model.tensors["model.layers.0.self_attn.k_proj.weight"] = {{32, 31}, std::vector<float>(32 * 31)};
  model.write_file("model.safetensors", model.tensors);
  model.expect_refused(
      {"model.safetensors: tensor 'model.layers.0.self_attn.k_proj.weight' has the shape [32, 31]",
       "asks for [32, 32]"});

  model.tensors = all;
  model.tensors["model.layers.2.mlp.up_proj.weight"] = {{1}, {0}};
  model.write_file("model.safetensors", model.tensors);
  model.expect_refused({"1 tensors have no place", "'model.layers.2.mlp.up_proj.weight'"});
}

TEST(LoadWeights, IgnoresInverseFrequencies) {
  EditedModel model("qwen3-tied");
  model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{2}, {1, 2}};
  model.write_file("model.safetensors", model.tensors);
  EXPECT_TRUE(same_bits(Loaded(model.dir().path()).all(), Loaded(golden_dir("qwen3-tied")).all()));
}

TEST(LoadWeights, TiedHeadIsAbsentOrEqual) {
  EditedModel model("qwen3-tied");
  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"];
  model.write_file("model.safetensors", model.tensors);
  EXPECT_NO_THROW(Loaded(model.dir().path()));
  model.tensors["lm_head.weight"].second[3 * 32 + 7] += 0.5F;
  model.write_file("model.safetensors", model.tensors);
  model.expect_refused({"'lm_head.weight' is not the embedding", "row 3, column 7"});
  model.tensors["lm_head.weight"] = {{1}, {0}};
  model.write_file("model.safetensors", model.tensors);
  model.expect_refused({"'lm_head.weight' has the shape [1]"});
  // An untied model must have one.
  EditedModel untied("qwen3-yarn");
  untied.tensors.erase("lm_head.weight");
  untied.write_file("model.safetensors", untied.tensors);
  untied.expect_refused({"tensor 'lm_head.weight' is missing"});
}

TEST(LoadWeights, ChecksShardsAgainstTheIndex) {
  EditedModel model("qwen3-tied");
  std::map<std::string, EditedModel::Values> first, second;
  json map;
  for (const auto& [name, values] : model.tensors) {
    const bool early = first.size() < 10;
    (early ? first : second)[name] = values;
    map[name] = early ? "a.safetensors" : "b.safetensors";
  }
  const auto put_index = [&](const json& weight_map) {
    write(model.dir() / "model.safetensors.index.json", json{{"weight_map", weight_map}}.dump());
  };
  model.write_file("a.safetensors", first);
  put_index(map);
  model.expect_refused({"cannot open", "b.safetensors"});
  model.write_file("b.safetensors", second);
  EXPECT_TRUE(same_bits(Loaded(model.dir().path()).all(), Loaded(golden_dir("qwen3-tied")).all()));

  json wrong = map;
  wrong[first.begin()->first] = "b.safetensors";
  put_index(wrong);
  model.expect_refused({"tensor '" + first.begin()->first + "' is not in b.safetensors"});
  wrong[first.begin()->first] = "../a.safetensors";
  put_index(wrong);
  model.expect_refused({"is mapped to \"../a.safetensors\""});
  put_index(map);
  second[first.begin()->first] = first.begin()->second;
  model.write_file("b.safetensors", second);
  model.expect_refused({"is there twice", "a.safetensors"});
}

TEST(LoadWeights, FindsTruncationBeforeReading) {
  EditedModel model("qwen3-tied");
  model.write_file("model.safetensors", model.tensors);
  const std::string whole = read(model.dir() / "model.safetensors");
  for (const std::size_t cut : {std::size_t{1}, std::size_t{1000}, whole.size() / 2, whole.size() - 100}) {
    write(model.dir() / "model.safetensors", whole.substr(0, whole.size() - cut));
    model.expect_refused({"truncated"});
  }
}

TEST(LoadConfig, TakesEndOfSequenceFromTheGenerationConfig) {
  const EditedModel model("qwen3-tied");
  EXPECT_EQ(load_config(model.dir().path()).eos_token_ids, std::vector<std::int64_t>{2});
  write(model.dir() / "generation_config.json", R"({"eos_token_id": [7, 2]})");
  EXPECT_EQ(load_config(model.dir().path()).eos_token_ids, (std::vector<std::int64_t>{7, 2}));
  write(model.dir() / "generation_config.json", R"({"temperature": 0.6})");
  EXPECT_EQ(load_config(model.dir().path()).eos_token_ids, std::vector<std::int64_t>{2});
  write(model.dir() / "generation_config.json", R"({"eos_token_id": "x"})");
  EXPECT_THROW(load_config(model.dir().path()), Error);
  write(model.dir() / "generation_config.json", "{");
  EXPECT_THROW(load_config(model.dir().path()), Error);
  EXPECT_THROW(load_config("/nonexistent"), Error);
}

}  // namespace
}  // namespace rlcpp::model
