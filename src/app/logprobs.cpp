// rlcpp logprobs: the log-probability that a model gives each token of given texts.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/command.h"
#include "app/run_config.h"
#include "app/run_model.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "monitor/console.h"
#include "monitor/progress.h"
#include "tokenizer/tokenizer.h"
#include "train/scorer.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct LogprobsConfig {
  ModelSection model;
  TokenizerSection tokenizer;
  std::string data, out, device = "auto";
  std::optional<std::string> memory_limit;
  std::int64_t seq_len = 8192, threads = 0, seed = 0;

  void describe(config::Schema& s) {
    s.section("model", model, "The model that scores.");
    s.section("tokenizer", tokenizer, "Only for rows with text; the model's own if not named.");
    s.field("data", data,
            "A .jsonl file. A row has `ids` (token ids), or `text`, which the tokenizer encodes with what it "
            "puts around a text. "
            "Other columns are ignored.");
    s.field(
        "out", out,
        "File of the result, one line a row; empty: stdout. A line has `ids` and `logprobs`, one a token: "
        "natural "
        "logarithms, null for the first, which nothing precedes.");
    s.field("device", device, "Where to run: auto, cpu, cuda or cuda:N.");
    s.field("memory_limit", memory_limit,
            "Refuse to start if the memory plan is larger, e.g. 44GiB; None: the memory that is free.");
    s.field(
         "seq_len", seq_len,
         "Tokens that go through the model at once; rows are packed up to it, and a longer one is refused.")
        .at_least(2)
        .in("tokens");
    s.field("threads", threads, "CPU threads; 0: one a core. Results do not depend on it.")
        .at_least(0)
        .at_most(1024);
    s.field("seed", seed, "Seed of random weights, where model.debug.random_init asks for them.");
  }
};

struct Text {
  std::vector<std::int32_t> ids;
  std::string place;  // "texts.jsonl:3"
};

std::vector<std::int32_t> ids_of(const Json& row, const std::string& place,
                                 const tokenizer::Tokenizer* tokenizer) {
  std::vector<std::int32_t> ids;
  if (const auto given = row.find("ids"); given != row.end()) {
    bool numbers = given->is_array();
    for (const Json& id : *given) {
      numbers = numbers && id.is_number_integer() && id.get<std::int64_t>() >= 0 &&
                id.get<std::int64_t>() <= INT32_MAX;
      if (!numbers) break;
      ids.push_back(id.get<std::int32_t>());
    }
    if (!numbers) throw bad_input(place + ": ids is no list of token ids", "", "give whole numbers from 0");
    return ids;
  }
  const auto text = row.find("text");
  if (text == row.end() || !text->is_string()) {
    throw bad_input(place + ": the row has neither ids nor text", "", "give one of the two");
  }
  RLCPP_CHECK(tokenizer != nullptr);
  return tokenizer->encode(text->get<std::string>(), true, true);
}

// Every row of the file, checked: not empty, not longer than `longest`, inside the vocabulary.
std::vector<Text> read_texts(const LogprobsConfig& config, const RunModel& model) {
  std::ifstream file(config.data);
  if (!file) throw bad_input("cannot read " + config.data, "", "name a .jsonl file with --data");
  std::error_code ignored;
  if (std::filesystem::equivalent(config.data, config.out, ignored)) {
    throw bad_input("--out names the file of --data", "the result would take the place of the texts",
                    "name another file with --out");
  }
  std::optional<tokenizer::Tokenizer> tokenizer;
  std::vector<Text> texts;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = fmt::format("{}:{}", config.data, number);
    const Json row = parse_json<Json>(line);
    if (!row.is_object()) throw bad_input(place + " is no JSON object", "", "write one object a line");
    if (!row.contains("ids") && !tokenizer) {
      const std::string dir = tokenizer_directory(config.tokenizer, model);
      tokenizer = tokenizer::Tokenizer::load(dir);
      require_vocabulary(model, tokenizer->vocab_size(), dir);
    }
    Text text{ids_of(row, place, tokenizer ? &*tokenizer : nullptr), place};
    if (text.ids.empty()) throw bad_input(place + ": the row has no token", "", "remove the row");
    if (static_cast<std::int64_t>(text.ids.size()) > config.seq_len) {
      throw bad_input(place + ": the row is longer than seq_len",
                      fmt::format("{} tokens, seq_len is {}", text.ids.size(), config.seq_len),
                      fmt::format("raise it with --seq-len {}", text.ids.size()));
    }
    for (const std::int32_t id : text.ids) {
      if (id < model.config.vocab_size) continue;
      throw bad_input(fmt::format("{}: token id {} is outside the model's vocabulary", place, id),
                      fmt::format("its ids end at {}", model.config.vocab_size - 1),
                      "use the tokenizer that belongs to the model");
    }
    texts.push_back(std::move(text));
  }
  if (texts.empty()) throw bad_input(config.data + " has no row", "", "write one JSON object a line");
  return texts;
}

// Consecutive texts whose tokens fit one row: [first, last).
std::size_t row_end(const std::vector<Text>& texts, std::size_t first, std::int64_t seq_len) {
  std::int64_t tokens = 0;
  std::size_t last = first;
  while (last < texts.size()) {
    tokens += static_cast<std::int64_t>(texts[last].ids.size());
    if (tokens > seq_len) break;
    ++last;
  }
  return last;
}

// "[null,-1.25,...]": the shortest text that reads back as the same float.
std::string result_line(const Text& text, std::span<const float> logprobs) {
  std::string line = "{\"ids\":[";
  for (std::size_t t = 0; t < text.ids.size(); ++t) {
    fmt::format_to(std::back_inserter(line), "{}{}", t == 0 ? "" : ",", text.ids[t]);
  }
  line += "],\"logprobs\":[null";
  for (std::size_t t = 1; t < text.ids.size(); ++t) {
    if (!std::isfinite(logprobs[t])) {
      throw runtime_failure(fmt::format("{}: the log-probability of token {} is not finite", text.place, t),
                            "the model's numbers overflow", "check its weights");
    }
    fmt::format_to(std::back_inserter(line), ",{}", logprobs[t]);
  }
  return line + "]}\n";
}

// What a refusal suggests: the longest of the halved rows that fits, no shorter than the longest text.
std::vector<std::string> shorter_rows_that_fit(const ops::Context& ctx, const model::ModelConfig& model,
                                               const MemoryPlan& of_model, std::int64_t longest,
                                               std::int64_t least, std::size_t limit) {
  for (std::int64_t length = longest / 2; length >= least; length /= 2) {
    MemoryPlan plan = of_model;
    train::Scorer::plan(ctx, model, length, plan);
    if (plan.total_bytes() <= limit) {
      return {fmt::format("--seq-len {}: {}, fewer tokens at once, same result", length,
                          monitor::gib(static_cast<double>(plan.total_bytes())))};
    }
  }
  return {"no --seq-len makes it fit: use a smaller model or a larger device"};
}

int run_logprobs(const Invocation& invocation) {
  LogprobsConfig config;
  config::load(config::describer(config), invocation.arguments);
  if (config.data.empty()) throw bad_input("no data was named", "", "name a .jsonl file with --data");
  const RunModel model = resolve_model(config.model, config.seed, false);
  const std::vector<Text> texts = read_texts(config, model);
  std::int64_t longest = 0, tokens = 0;
  for (std::size_t first = 0; first < texts.size();) {
    const std::size_t last = row_end(texts, first, config.seq_len);
    std::int64_t row = 0;
    for (std::size_t i = first; i < last; ++i) row += static_cast<std::int64_t>(texts[i].ids.size());
    longest = std::max(longest, row);
    tokens += row;
    first = last;
  }
  std::int64_t positions = 0;
  for (const Text& text : texts) positions = std::max(positions, static_cast<std::int64_t>(text.ids.size()));
  require_positions(model, positions, "the longest row, in tokens,");

  const DeviceChoice device = choose_device(config.device);
  ThreadPool pool(static_cast<int>(config.threads));
  const ops::Context ctx = ops::make_context(device.device, pool);
  MemoryPlan plan;
  const auto weight_regions =
      model::plan_weights(model.config, plan, MemoryUse::kWeights, "weight.", ctx.compute_type());
  const auto packed_regions = model::plan_packed(model.config, ctx, plan);
  const auto rope_regions = model::plan_rope(model.config, plan, positions);
  const MemoryPlan of_model = plan;
  const train::Scorer::Regions regions = train::Scorer::plan(ctx, model.config, longest, plan);
  RunSection run;
  run.memory_limit = config.memory_limit;
  const std::size_t limit = run.memory_limit_bytes(device.device);
  if (limit > 0 && plan.total_bytes() > limit) {
    plan.require_fits(limit, shorter_rows_that_fit(ctx, model.config, of_model, longest, positions, limit));
  }
  Logger log(invocation.log);
  log.info("device    " + device_text(device, ctx));
  log.info("model     " + model.text);
  log.info(fmt::format("data      {} rows, {} tokens", texts.size(), tokens));
  if (invocation.dry_run) {
    fmt::print("{}", plan.table(limit));
    return 0;
  }

  const Arena arena(plan, device.device);
  const model::WeightSet weights = model::make_weight_set(model.config, arena, weight_regions);
  fill_weights(model, weights, config.seed, pool);
  train::Scorer scorer(ctx, model.config, arena, regions, weights,
                       model::make_packed_set(model.config, arena, packed_regions),
                       model::make_rope(model.config, arena, rope_regions));
  monitor::ProgressOptions options;
  options.quiet = invocation.log.level > LogLevel::kInfo;
  monitor::Progress progress("scoring", tokens, "tokens", options);
  std::string lines;
  double sum = 0;
  for (std::size_t first = 0; first < texts.size();) {
    const std::size_t last = row_end(texts, first, config.seq_len);
    data::MicroBatch batch;
    for (std::size_t i = first; i < last; ++i) {
      data::Sample sample;
      sample.ids = texts[i].ids;
      sample.mask.assign(sample.ids.size(), 1);
      sample.mask.front() = 0;
      batch.append(sample);
    }
    const std::vector<float> logprobs = scorer.logprobs(batch);
    for (std::size_t i = first, begin = 0; i < last; begin += texts[i].ids.size(), ++i) {
      lines += result_line(texts[i], std::span(logprobs).subspan(begin, texts[i].ids.size()));
    }
    for (const float value : logprobs) sum += double{value};
    progress.add(batch.tokens());
    first = last;
  }
  progress.finish();
  if (config.out.empty()) {
    fmt::print("{}", lines);
  } else {
    durable::write_file(durable::system_files(), config.out, lines);
    const auto scored = tokens - static_cast<std::int64_t>(texts.size());
    const double mean = scored > 0 ? sum / static_cast<double>(scored) : 0.0;
    const Json summary = {{"out", config.out},
                          {"rows", texts.size()},
                          {"tokens", tokens},
                          {"mean_logprob", mean},
                          {"perplexity", std::exp(-mean)}};
    if (invocation.json) {
      fmt::print("{}\n", summary.dump());
    } else {
      fmt::print("{}: {} rows, {} tokens, mean log-probability {:.4f}, perplexity {:.4g}\n", config.out,
                 texts.size(), tokens, mean, std::exp(-mean));
    }
  }
  return 0;
}

}  // namespace

Command logprobs_command() {
  Command c;
  c.name = "logprobs";
  c.summary = "Score texts: the log-probability that a model gives each token.";
  c.usage = "rlcpp logprobs --model.name DIR --data FILE.jsonl [--out FILE.jsonl]";
  c.examples = {
      "rlcpp logprobs --model.name outputs/sft/weights/step_22 --data texts.jsonl --out scores.jsonl",
      "echo '{\"ids\": [1, 2, 3]}' > ids.jsonl && rlcpp logprobs --model.name DIR --data ids.jsonl"};
  describe_options<LogprobsConfig>(c);
  c.run = run_logprobs;
  return c;
}

}  // namespace rlcpp::app
