#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "model/checkpoint.h"
#include "model/config_json.h"
#include "model/model_files.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

constexpr const char* kHeadName = "lm_head.weight";

std::string text_of(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

const ModelFiles::Entry& require(const ModelFiles& files, const std::string& name,
                                 const std::vector<std::int64_t>& shape) {
  const auto found = files.tensors().find(name);
  if (found == files.tensors().end()) {
    throw bad_input(fmt::format("{}: tensor '{}' is missing", files.dir(), name),
                    fmt::format("config.json asks for it with the shape {}", text_of(shape)),
                    "check that config.json and the weights belong together");
  }
  const ModelFiles::Entry& entry = found->second;
  if (entry.tensor->shape != shape) {
    throw bad_input(
        fmt::format("{}: tensor '{}' has the shape {}", entry.path, name, text_of(entry.tensor->shape)),
        fmt::format("config.json asks for {}", text_of(shape)),
        "check that config.json and the weights belong together");
  }
  return entry;
}

// Stored by transformers before 2023; a function of config.json.
bool harmless(const std::string& name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

void refuse_unknown(const ModelFiles& files, const std::set<std::string>& known) {
  std::vector<std::string> unknown;
  for (const auto& [name, entry] : files.tensors()) {
    if (!known.contains(name) && !harmless(name)) unknown.push_back("'" + printable(name) + "'");
  }
  if (unknown.empty()) return;
  const std::size_t shown = std::min<std::size_t>(unknown.size(), 3);
  throw bad_input(
      fmt::format("{}: {} tensors have no place in the model of config.json", files.dir(), unknown.size()),
      fmt::format("the first: {}",
                  fmt::join(unknown.begin(), unknown.begin() + static_cast<std::ptrdiff_t>(shown), ", ")),
      "check that config.json and the weights belong together");
}

// transformers writes no head for a tied model; other tools write a copy.
void check_tied_head(const ModelConfig& config, const ModelFiles& files) {
  if (!config.tied || !files.tensors().contains(kHeadName)) return;
  const std::vector<std::int64_t> shape = {config.vocab_size, config.hidden_size};
  const ModelFiles::Entry& entry = require(files, kHeadName, shape);
  // The usual case is the same bytes twice, and needs no memory.
  const ModelFiles::Entry& stored = files.tensors().at("model.embed_tokens.weight");
  if (entry.tensor->dtype == stored.tensor->dtype &&
      std::ranges::equal(entry.file->bytes(*entry.tensor), stored.file->bytes(*stored.tensor))) {
    return;
  }
  std::vector<float> head(static_cast<std::size_t>(config.vocab_size * config.hidden_size));
  entry.file->read_f32(*entry.tensor, head);
  std::vector<float> embedding(head.size());
  stored.file->read_f32(*stored.tensor, embedding);
  const auto differs = std::mismatch(head.begin(), head.end(), embedding.begin());
  if (differs.first == head.end()) return;
  const std::int64_t at = differs.first - head.begin();
  throw bad_input(
      fmt::format("{}: '{}' is not the embedding", entry.path, kHeadName),
      fmt::format("config.json ties them (tie_word_embeddings), but row {}, column {} is {} there and {} in "
                  "the embedding",
                  at / config.hidden_size, at % config.hidden_size, *differs.first, *differs.second),
      "set tie_word_embeddings to false in config.json");
}

// A directory that rlcpp wrote says what it must hold. Others' files of this name mean something else.
void verify_own_directory(const std::string& dir) {
  const std::string path = dir + "/" + durable::kManifestName;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return;
  if (durable::read_file(path).find("\"rlcpp-directory\"") == std::string::npos) return;
  try {
    durable::verify_directory(dir);
  } catch (const Error& e) {
    throw Error(e.code(), e.what(), e.because(),
                e.help() + fmt::format("; if a file was changed on purpose, remove {}", path));
  }
}

void require_finite(const ModelFiles::Entry& entry, const HfSlice& slice, std::span<const float> values) {
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  throw bad_input(fmt::format("{}: tensor '{}' holds numbers that are not finite", entry.path, slice.name),
                  fmt::format("the first is {} at offset {} of its {} numbers", *bad, bad - values.begin(),
                              values.size()),
                  "these weights cannot be trained or sampled from: use an older checkpoint, or download "
                  "the file again");
}

}  // namespace

ModelConfig load_config(const std::string& dir) {
  const std::string path = dir + "/config.json";
  ModelConfig config = parse_config(durable::read_file(path), path);
  const std::string generation = dir + "/generation_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(generation, ignored)) return config;
  const nlohmann::json root = parse_json(durable::read_file(generation));
  if (root.is_discarded() || !root.is_object()) {
    throw bad_input(generation + ": not a JSON object", {}, "download the file again, or remove it");
  }
  const auto eos = root.find("eos_token_id");
  if (eos == root.end() || eos->is_null()) return config;
  const auto ids = token_ids_of(*eos);
  if (!ids) {
    throw bad_input(generation + ": eos_token_id is " + eos->dump(-1, ' ', true).substr(0, 80),
                    "it must be a token id or a list of them", "download the file again, or remove it");
  }
  config.eos_token_ids = *ids;
  return config;
}

void load_weights(const ModelConfig& config, const std::string& dir, const WeightSet& weights,
                  ThreadPool* pool) {
  verify_own_directory(dir);
  const ModelFiles files(dir);
  const std::vector<ParameterInfo> list = parameter_list(config);
  RLCPP_CHECK(list.size() == weights.flat.size());

  // Everything is checked before the first number is read.
  std::vector<std::function<void()>> reads;
  std::set<std::string> known;
  if (config.tied) known.insert(kHeadName);
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      known.insert(slice.name);
      const ModelFiles::Entry& entry = require(files, slice.name, slice.shape);
      const Tensor rows = weights.flat[p].rows(slice.row, slice.shape[0]);
      reads.emplace_back([&entry, &slice, rows] {
        HostFloats host(rows, false);
        entry.file->read_f32(*entry.tensor, host.values());
        require_finite(entry, slice, host.values());
        host.store();
      });
    }
  }
  refuse_unknown(files, known);
  const auto read = [&](std::int64_t i) { reads[static_cast<std::size_t>(i)](); };
  const auto count = static_cast<std::int64_t>(reads.size());
  if (pool != nullptr) {
    pool->parallel_for(count, read);
  } else {
    for (std::int64_t i = 0; i < count; ++i) read(i);
  }
  check_tied_head(config, files);
}

}  // namespace rlcpp::model
