#include "app/run_sft_data.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/hub_models.h"
#include "base/error.h"
#include "base/rng.h"
#include "monitor/console.h"
#include "monitor/progress.h"

namespace rlcpp::app {
namespace {

constexpr std::size_t kCheckedText = std::size_t{64} << 20;

// Both seeds change the order: a run with another `seed` sees other data first, and data.seed alone keeps the
// weights.
std::uint64_t order_seed(const SftConfig& config) {
  return mix64(static_cast<std::uint64_t>(config.run.seed), static_cast<std::uint64_t>(config.data.seed));
}

std::shared_ptr<data::SftSource> open_source(const SftConfig& config, const tokenizer::Tokenizer& tokenizer,
                                             const std::string& name, const std::vector<std::string>& subsets,
                                             const std::vector<std::string>& splits, bool shuffle,
                                             const std::string& key, Logger& log,
                                             const data::Mixing& mixing = {}) {
  std::error_code ignored;
  const std::vector<std::string> wanted = splits.empty() ? std::vector<std::string>{"train"} : splits;
  auto files = std::filesystem::exists(name, ignored) ? std::nullopt : hub_data(name, subsets, wanted, key);
  if (!files) files = data::find_files(name, subsets, wanted, key);
  for (const std::string& note : files->notes) log.warn(note);
  data::Dataset rows = data::Dataset::open_files(files->parts, mixing);
  data::Renderer renderer(tokenizer, config.tokenizer.template_text(), config.data.loss_mask);
  return std::make_shared<data::SftSource>(std::move(rows), std::move(renderer), shuffle, order_seed(config));
}

std::vector<data::Sample> first_samples(SftData& data, int count) {
  std::vector<data::Sample> samples;
  const auto wanted = static_cast<std::size_t>(count);
  // A small data set shows what it has; fake data never ends.
  const std::int64_t positions = data.rows != nullptr ? data.rows->rows() : count;
  for (std::int64_t position = 0; samples.size() < wanted && position < positions; ++position) {
    for (data::Sample& sample : data.source->at(position)) {
      if (samples.size() < wanted) samples.push_back(std::move(sample));
    }
  }
  return samples;
}

std::string place_of(const SftData& data, const data::Sample& sample) {
  return data.rows != nullptr ? data.rows->dataset().place(sample.index)
                              : fmt::format("fake {}", sample.index);
}

std::int64_t trained_tokens(const data::Sample& sample) {
  return std::count(sample.mask.begin(), sample.mask.end(), 1);
}

}  // namespace

SftData open_sft_data(const SftConfig& config, const RunModel& model, Logger& log) {
  SftData out;
  if (config.data.type == "fake") {
    data::FakeOptions fake;
    fake.vocab_size = model.config.vocab_size;
    fake.seq_len = config.data.seq_len;
    fake.variable_length = config.data.length == "variable";
    fake.random_ids = config.data.input_ids == "random";
    fake.seed = order_seed(config);
    out.source = std::make_shared<data::FakeSource>(fake);
  }
  const bool needs_tokenizer = config.data.type == "sft" || config.val.has_value();
  if (needs_tokenizer) {
    const std::string dir = tokenizer_directory(config.tokenizer, model);
    out.tokenizer = std::make_unique<tokenizer::Tokenizer>(tokenizer::Tokenizer::load(dir));
    require_vocabulary(model, out.tokenizer->vocab_size(), dir);
  }
  if (config.data.type == "sft") {
    out.rows = open_source(config, *out.tokenizer, config.data.name, config.data.subsets, config.data.splits,
                           config.data.shuffle, "data.name", log,
                           {config.data.stopping_strategy, config.data.probabilities, order_seed(config)});
    out.source = out.rows;
    monitor::ProgressOptions quiet;
    quiet.line = [&log](std::string_view line) { log.info(line); };
    std::optional<monitor::Progress> progress;  // only if it takes long enough to be noticed
    const auto begin = std::chrono::steady_clock::now();
    const std::int64_t checked = out.rows->check(kCheckedText, [&](std::int64_t done) {
      if (!progress.has_value() && std::chrono::steady_clock::now() - begin < std::chrono::seconds(2)) return;
      if (!progress.has_value()) progress.emplace("checking", out.rows->rows(), "rows", quiet);
      progress->update(done);
    });
    if (progress.has_value()) progress->finish();
    if (checked < out.rows->rows()) {
      log.info(fmt::format("checked the first {} of {} rows; later ones are checked when they are reached",
                           checked, out.rows->rows()));
    }
    if (out.rows->split_rows() > 0) {
      log.info(fmt::format(
          "the chat template rewrites earlier turns: {} rows became several samples, so that each answer "
          "stands behind the text that the model will see",
          out.rows->split_rows()));
    }
    if (out.rows->unaligned_turns() > 0) {
      log.warn(fmt::format("{} turns could not be found in the rendered text and are not trained",
                           out.rows->unaligned_turns()));
    }
    if (out.rows->lossy_rows() > 0) {
      log.warn(fmt::format(
          "the tokenizer has no token for some bytes of {} rows, the first {}: they are left out, as Hugging "
          "Face's tokenizers do",
          out.rows->lossy_rows(), out.rows->first_lossy_row()));
    }
  }
  if (config.val.has_value()) {
    const auto& val = config.val->data;
    const auto source =
        open_source(config, *out.tokenizer, val.name.value_or(config.data.name), val.subsets, val.splits,
                    false, val.name.has_value() ? "val.data.name" : "data.name", log);
    out.validation = data::one_pass(*source, config.data.seq_len, config.data.micro_batch_size,
                                    val.max_examples.value_or(0));
  }
  const data::DataConfig& d = config.data;
  out.text = config.data.type == "fake"
                 ? fmt::format("fake, {} length, {} ids", d.length, d.input_ids)
                 : fmt::format("{} ({} rows{})", d.name, out.rows->rows(), d.shuffle ? ", shuffled" : "");
  out.text +=
      fmt::format("; {} rows of {} tokens a step, {} at a time", d.batch_size, d.seq_len, d.micro_batch_size);
  if (config.val.has_value()) {
    std::int64_t documents = 0;
    for (const auto& batch : out.validation) documents += batch.documents();
    out.text += fmt::format("; validation of {} samples every {} steps", documents, config.val->interval);
  }
  return out;
}

std::string marked_text(const tokenizer::Tokenizer& tokenizer, const data::Sample& sample, bool colour) {
  std::string text;
  for (std::size_t begin = 0; begin < sample.ids.size();) {
    std::size_t end = begin + 1;
    while (end < sample.ids.size() && sample.mask[end] == sample.mask[begin]) ++end;
    const std::string part = printable(tokenizer.decode(std::span(sample.ids).subspan(begin, end - begin)));
    if (sample.mask[begin] == 0) {
      text += part;
    } else {
      text += colour ? "\x1b[32m[[" + part + "]]\x1b[0m" : "[[" + part + "]]";
    }
    begin = end;
  }
  return text;
}

std::string sample_listing(SftData& data, std::int64_t seq_len, int count, bool colour) {
  std::string text = "samples as they are trained; [[ ]] marks the tokens that the loss sees\n";
  int shown = 0;
  for (const data::Sample& sample : first_samples(data, count)) {
    const auto length = static_cast<std::int64_t>(sample.ids.size());
    text += fmt::format("\nsample {}  {}  {} tokens, {} trained{}\n", ++shown, place_of(data, sample), length,
                        trained_tokens(sample), length > seq_len ? fmt::format(", cut to {}", seq_len) : "");
    if (data.tokenizer != nullptr) {
      text += "  " + marked_text(*data.tokenizer, sample, colour) + "\n";
      continue;
    }
    const std::size_t some = std::min<std::size_t>(sample.ids.size(), 16);
    text += fmt::format("  ids {}{}\n", fmt::join(std::span(sample.ids).first(some), " "),
                        some < sample.ids.size() ? " ..." : "");
  }
  return text;
}

nlohmann::ordered_json sample_json(SftData& data, int count) {
  auto list = nlohmann::ordered_json::array();
  for (const data::Sample& sample : first_samples(data, count)) {
    nlohmann::ordered_json entry;
    entry["place"] = place_of(data, sample);
    entry["trained"] = trained_tokens(sample);
    entry["ids"] = sample.ids;
    entry["mask"] = sample.mask;
    if (data.tokenizer != nullptr) entry["text"] = data.tokenizer->decode(sample.ids);
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace rlcpp::app
