// rlcpp tokenize: train a tokenizer, and look at what one does.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/command.h"
#include "base/config/load.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "monitor/progress.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/corpus.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct TokenizeTrainConfig {
  std::vector<std::string> data;
  int vocab_size = 512;
  std::vector<std::string> added_tokens;
  bool characters = false;
  int min_frequency = 2;
  std::string out;
  bool clean = false;

  void describe(config::Schema& s) {
    s.field("data", data,
            "Files to learn from: JSONL with messages, prompt and completion, or text; any other file is "
            "plain text.");
    s.field("vocab_size", vocab_size, "Size of the vocabulary, special and added tokens included.")
        .at_least(4);
    s.field("added_tokens", added_tokens, "Strings that are always one token, e.g. \"<think>,</think>\".");
    s.field("characters", characters,
            "One token for each byte that occurs in the data or the template, and no merges; vocab_size is "
            "then only a "
            "limit. Other bytes of a text are left out when it is encoded.");
    s.field("min_frequency", min_frequency, "Pairs that occur less often are not merged.").at_least(1);
    s.field("out", out,
            "Directory for tokenizer.json and tokenizer_config.json; without clean it must not hold a "
            "tokenizer yet.");
    s.field("clean", clean, "Write over a tokenizer that is there.");
  }
};

struct TokenizeEncodeConfig {
  bool special = true;
  bool add_special = false;
  bool lines = false;
  void describe(config::Schema& s) {
    s.field("special", special, "Special tokens in the text become their ids; otherwise they are text.");
    s.field("add_special", add_special,
            "Add what the tokenizer puts around a text, e.g. a token of its beginning.");
    s.field("lines", lines,
            "Each line of stdin is a text of its own, as a JSON string; the output has a line for each.");
  }
};

struct TokenizeDecodeConfig {
  bool skip_special = false;
  void describe(config::Schema& s) { s.field("skip_special", skip_special, "Leave special tokens out."); }
};

struct TokenizeRenderConfig {
  bool add_generation_prompt = false;
  std::string variables = "{}";
  void describe(config::Schema& s) {
    s.field("add_generation_prompt", add_generation_prompt, "End with the opening of an assistant turn.");
    s.field("variables", variables,
            "Further variables of the template, as JSON: {\"enable_thinking\": false}.");
  }
};

// All options of the actions as one tree, for --help and the generated page.
struct TokenizeConfig {
  TokenizeTrainConfig train;
  TokenizeEncodeConfig encode;
  TokenizeDecodeConfig decode;
  TokenizeRenderConfig render;
  void describe(config::Schema& s) {
    s.section("train", train, "Options of `rlcpp tokenize train`, given without \"train.\".");
    s.section("encode", encode, "Options of `rlcpp tokenize encode DIR`.");
    s.section("decode", decode, "Options of `rlcpp tokenize decode DIR`.");
    s.section("render", render, "Options of `rlcpp tokenize render DIR`.");
  }
};

constexpr const char* kUsage =
    "rlcpp tokenize train --data FILE,... --out DIR | encode DIR | decode DIR | render DIR";

std::string read_stdin() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

// A tokenizer belongs to the weights that were trained with it: writing another one over it would spoil them
// without a word. Looked at before any work.
void require_place(const std::string& out, bool clean) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::exists(out, ignored) && !fs::is_directory(out, ignored)) {
    throw bad_input(out + " is a file", "a tokenizer is a directory with two files",
                    "name a directory with --out");
  }
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    if (clean) return;
    const std::string path = out + "/" + name;
    if (!fs::exists(fs::symlink_status(path, ignored))) continue;
    throw bad_input(path + " is there already", "training does not write over a tokenizer",
                    "name another directory with --out, or write over it with --clean");
  }
}

int train(const Invocation& invocation, const std::vector<std::string>& arguments) {
  TokenizeTrainConfig config;
  config::load(config::describer(config), arguments);
  if (config.data.empty()) throw bad_input("no data was named", {}, "name files with --data FILE,...");
  if (config.out.empty()) throw bad_input("no directory was named", {}, "name one with --out DIR");
  require_place(config.out, config.clean);
  monitor::ProgressOptions options;
  options.quiet = invocation.log.level > LogLevel::kInfo;

  std::int64_t bytes = 0;
  for (const std::string& file : config.data) {
    std::error_code missing;
    const auto size = std::filesystem::file_size(file, missing);
    if (missing) throw bad_input("cannot read " + file, missing.message());
    bytes += static_cast<std::int64_t>(size);
  }
  monitor::Progress reading("reading", bytes, "bytes", options);
  const std::vector<std::string> texts =
      tokenizer::read_texts(config.data, [&](std::int64_t done) { reading.update(done); });
  reading.finish();
  const bool none =
      std::all_of(texts.begin(), texts.end(), [](const std::string& text) { return text.empty(); });
  if (none) {
    throw bad_input(
        fmt::format("there is no text to learn a tokenizer from in {}", fmt::join(config.data, ", ")),
        fmt::format("{} bytes hold {} texts, none with a character", bytes, texts.size()),
        "give files with text, or JSONL rows with messages, prompt and completion, or text");
  }

  tokenizer::TrainOptions train_options;
  train_options.vocab_size = config.vocab_size;
  train_options.added_tokens = config.added_tokens;
  train_options.only_seen_bytes = config.characters;
  train_options.merges = !config.characters;
  train_options.min_frequency = config.min_frequency;
  if (invocation.dry_run) {
    fmt::print("would learn {} tokens from {} texts and write {}\n", config.vocab_size, texts.size(),
               config.out);
    return 0;
  }
  std::optional<monitor::Progress> learning;
  train_options.progress = [&](std::int64_t done, std::int64_t total) {
    if (!learning) learning.emplace("learning", total, "merges", options);
    learning->update(done);
  };
  const tokenizer::TrainResult result = tokenizer::train_tokenizer(texts, train_options, config.out);
  if (learning) learning->finish();
  if (invocation.json) {
    fmt::print("{}\n", Json({{"directory", config.out},
                             {"vocab_size", result.vocab_size},
                             {"alphabet", result.alphabet},
                             {"merges", result.merges}})
                           .dump());
  } else {
    fmt::print("{}: {} tokens ({} bytes, {} merges, {} special or added)\n", config.out, result.vocab_size,
               result.alphabet, result.merges, result.vocab_size - result.alphabet - result.learned);
  }
  return 0;
}

std::string join_ids(const std::vector<std::int32_t>& ids) {
  return fmt::format("{}", fmt::join(ids, " "));
}

int encode(const Invocation& invocation, const std::string& path, const std::vector<std::string>& arguments) {
  TokenizeEncodeConfig config;
  config::load(config::describer(config), arguments);
  const auto tokens = tokenizer::Tokenizer::load(path);
  std::size_t lost = 0;
  const auto encode_one = [&](const std::string& text) {
    const std::vector<std::int32_t> ids = tokens.encode(text, config.special, config.add_special);
    lost += tokens.lost_bytes(text);
    if (!invocation.json) {
      fmt::print("{}\n", join_ids(ids));
      return;
    }
    Json pieces = Json::array();
    for (const std::int32_t id : ids) pieces.push_back(tokens.token_bytes(id));
    // Tokens that are parts of characters are shown with U+FFFD.
    fmt::print("{}\n",
               Json({{"ids", ids}, {"tokens", pieces}}).dump(-1, ' ', false, Json::error_handler_t::replace));
  };
  if (config.lines) {
    std::int64_t number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      const Json text = parse_json<Json>(line);
      ++number;
      if (!text.is_string()) throw bad_input(fmt::format("line {} of stdin is no JSON string", number));
      encode_one(text.get<std::string>());
    }
  } else {
    encode_one(read_stdin());
  }
  if (lost > 0) {
    Logger(invocation.log)
        .warn(fmt::format("{} bytes have no token and are left out, as Hugging Face's tokenizers do", lost));
  }
  return 0;
}

// Ids between anything that is no digit: "1 2 3", "[1, 2, 3]", one a line.
std::vector<std::int32_t> parse_ids(const std::string& text) {
  std::vector<std::int32_t> ids;
  const std::string_view separators = " \t\r\n,[]";
  for (std::size_t pos = 0; (pos = text.find_first_not_of(separators, pos)) != std::string::npos;) {
    const std::size_t end = std::min(text.find_first_of(separators, pos), text.size());
    std::int32_t id = -1;
    const auto read = std::from_chars(text.data() + pos, text.data() + end, id);
    if (read.ec != std::errc() || read.ptr != text.data() + end || id < 0) {
      throw bad_input(fmt::format("\"{}\" on stdin is no token id",
                                  printable(text.substr(pos, std::min<std::size_t>(end - pos, 40)))),
                      {}, "give whole numbers with spaces or commas between them");
    }
    ids.push_back(id);
    pos = end;
  }
  return ids;
}

int decode(const Invocation& invocation, const std::string& path, const std::vector<std::string>& arguments) {
  TokenizeDecodeConfig config;
  config::load(config::describer(config), arguments);
  const auto tokens = tokenizer::Tokenizer::load(path);
  const std::vector<std::int32_t> ids = parse_ids(read_stdin());
  for (const std::int32_t id : ids) {
    if (id >= tokens.vocab_size()) {
      throw bad_input(fmt::format("the token id {} is beyond the vocabulary of {}", id, path),
                      fmt::format("its ids end at {}", tokens.vocab_size() - 1));
    }
  }
  const std::string text = tokens.decode(ids, config.skip_special);
  if (invocation.json) {
    fmt::print("{}\n", Json({{"text", text}}).dump());
  } else {
    fmt::print("{}\n", text);
  }
  return 0;
}

Json json_of(const std::string& text, const std::string& what) {
  if (json_nesting(text) > kDeepestJson) throw bad_input(what + " is nested too deep", {}, "mend it");
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    throw bad_input(what + " is not valid JSON", json_problem(error, text));
  }
}

int render(const Invocation& invocation, const std::string& path, const std::vector<std::string>& arguments) {
  TokenizeRenderConfig config;
  config::load(config::describer(config), arguments);
  const auto tokens = tokenizer::Tokenizer::load(path);
  if (tokens.chat_template().empty()) {
    throw bad_input(path + " has no chat template", {}, "add chat_template to its tokenizer_config.json");
  }
  Json variables = {{"bos_token", tokens.bos_token()},
                    {"eos_token", tokens.eos_token()},
                    {"pad_token", tokens.pad_token()}};
  const Json given = json_of(config.variables, "--variables");
  if (!given.is_object()) throw bad_input("--variables must be a JSON object");
  variables.update(given);
  Json messages = json_of(read_stdin(), "the conversation on stdin");
  if (messages.is_object() && messages.contains("messages")) {
    for (const auto& [key, value] : messages.items()) {
      if (key != "messages") variables[key] = value;
    }
    messages = Json(messages["messages"]);
  }
  if (!messages.is_array()) {
    throw bad_input(
        "the conversation on stdin must be a list of messages, or an object with one under \"messages\"");
  }
  const std::string text = tokenizer::ChatTemplate(tokens.chat_template())
                               .render(messages, config.add_generation_prompt, variables);
  const std::vector<std::int32_t> ids = tokens.encode(text);
  if (invocation.json) {
    fmt::print("{}\n", Json({{"text", text}, {"ids", ids}}).dump());
  } else {
    fmt::print("{}\n\n{} tokens: {}\n", text, ids.size(), join_ids(ids));
  }
  return 0;
}

int run_tokenize(const Invocation& invocation) {
  std::vector<std::string> arguments = invocation.arguments;
  const std::string action = arguments.empty() ? "" : arguments.front();
  if (action.empty()) throw bad_input("tokenize needs to know what to do", {}, kUsage);
  arguments.erase(arguments.begin());
  if (action == "train") return train(invocation, arguments);
  if (action != "encode" && action != "decode" && action != "render") {
    throw bad_input(fmt::format("tokenize cannot \"{}\"", printable(action)), {}, kUsage);
  }
  if (arguments.empty() || arguments.front().starts_with("-")) {
    throw bad_input(fmt::format("tokenize {} needs the directory of a tokenizer", action), {},
                    fmt::format("rlcpp tokenize {} DIR", action));
  }
  const std::string path = arguments.front();
  arguments.erase(arguments.begin());
  if (action == "encode") return encode(invocation, path, arguments);
  if (action == "decode") return decode(invocation, path, arguments);
  return render(invocation, path, arguments);
}

}  // namespace

Command tokenize_command() {
  Command c;
  c.name = "tokenize";
  c.summary = "Train a tokenizer; encode, decode or render chats with one (text on stdin).";
  c.usage = kUsage;
  c.examples = {"rlcpp tokenize train --data data/sft.jsonl --vocab-size 4096 --out outputs/tokenizer",
                "echo 'Hello, world!' | rlcpp tokenize encode outputs/tokenizer --json"};
  describe_options<TokenizeConfig>(c);
  c.run = run_tokenize;
  return c;
}

}  // namespace rlcpp::app
