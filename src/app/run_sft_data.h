// The data of an SFT run: tokenizer, source of samples, validation set, and the samples that --dry-run shows.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "app/run_sft.h"
#include "base/log.h"
#include "data/loader.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::app {

struct SftData {
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;  // null with fake data; the sources refer to it
  std::shared_ptr<data::SampleSource> source;
  std::shared_ptr<data::SftSource> rows;     // the same, if it has rows
  std::vector<data::MicroBatch> validation;  // packed, empty without val
  std::string text;                          // for the banner
};

// Opens and checks: files, columns, template, vocabulary; the first 64 MiB of text are rendered, later rows
// when they are reached. Throws bad_input.
SftData open_sft_data(const SftConfig& config, const RunModel& model, Logger& log);

// A sample as text for people: special characters escaped, the trained parts between "[[" and "]]", and
// coloured as well if `colour`.
std::string marked_text(const tokenizer::Tokenizer& tokenizer, const data::Sample& sample, bool colour);

// The first `count` samples of the stream, each with its place, length and marked text; or the same as JSON.
std::string sample_listing(SftData& data, std::int64_t seq_len, int count, bool colour);
nlohmann::ordered_json sample_json(SftData& data, int count);

}  // namespace rlcpp::app
