// rlcpp convert: a GGUF file becomes a Hugging Face model directory.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/run_model.h"
#include "base/durable.h"
#include "base/error.h"
#include "hub/gguf.h"
#include "hub/image_writer.h"
#include "model/gguf_model.h"
#include "monitor/progress.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct ConvertConfig {
  std::string out, dtype = "auto";
  void describe(config::Schema& s) {
    s.field("out", out, "Directory to write; it must not be there yet.");
    s.field("dtype", dtype,
            "How numbers are stored: auto is bfloat16 for a file whose matrices are BF16, and float32, which "
            "loses nothing, for others.")
        .one_of({"auto", "float32", "bfloat16"});
  }
};

constexpr const char* kConvertUsage = "rlcpp convert FILE.gguf --out DIR [--dtype float32|bfloat16]";

tokenizer::Vocabulary vocabulary_of(const hub::GgufFile& file, const model::ModelConfig& model) {
  const std::string prefix = "tokenizer.ggml.";
  const std::string kind = file.text(prefix + "model");
  if (kind != "gpt2") {
    throw bad_input(fmt::format("{}: its tokenizer is of the kind \"{}\"", file.path(), printable(kind)),
                    "only byte-level BPE (\"gpt2\") becomes a tokenizer.json",
                    "take the model's safetensors with its own tokenizer.json");
  }
  tokenizer::Vocabulary v;
  v.where = file.path();
  v.tokens = file.texts(prefix + "tokens");
  if (file.has(prefix + "token_type")) v.kinds = file.integers(prefix + "token_type");
  v.merges = file.texts(prefix + "merges");
  v.pre_tokenizer = file.text(prefix + "pre");
  const auto id = [&](const char* name) {
    return file.integer(prefix + name + "_token_id", 0, INT32_MAX, -1);
  };
  v.bos = id("bos");
  v.eos = id("eos");
  v.pad = id("padding");
  v.unknown = id("unknown");
  v.add_bos = file.flag(prefix + "add_bos_token", v.pre_tokenizer.starts_with("llama") && v.bos >= 0);
  v.add_eos = file.flag(prefix + "add_eos_token", false);
  v.chat_template = file.text("tokenizer.chat_template", "");
  v.max_length = model.max_position;
  if (static_cast<std::int64_t>(v.tokens.size()) > model.vocab_size) {
    throw bad_input(file.path() + ": the tokenizer has more tokens than the embedding has rows",
                    fmt::format("{} and {}", v.tokens.size(), model.vocab_size),
                    "download or convert the file again");
  }
  return v;
}

// "30 x F32, 210 x Q4_1": the formats of the file's tensors.
std::string formats_of(const hub::GgufFile& file) {
  std::map<std::string, int> counts;
  for (const auto& [name, tensor] : file.tensors())
    ++counts[hub::gguf_type_name(static_cast<std::uint32_t>(tensor.type))];
  std::string text;
  for (const auto& [name, count] : counts)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, name);
  return text;
}

void write_image(const hub::DirectoryImage& image, bool quiet) {
  constexpr std::size_t kRing = 8 * hub::ImageWriter::kBlock;
  hub::ImageWriter writer(durable::system_files(), Device{}, kRing, 2);
  hub::WriteProgress written;
  monitor::ProgressOptions options;
  options.quiet = quiet;
  monitor::Progress progress("writing", static_cast<std::int64_t>(image.tensor_bytes()), "bytes", options);
  writer.write({image}, std::to_string(getpid()), written);
  progress.update(static_cast<std::int64_t>(image.tensor_bytes()));
  progress.finish();
}

int run_convert(const Invocation& invocation) {
  std::vector<std::string> arguments = invocation.arguments;
  if (arguments.empty() || arguments.front().starts_with("-"))
    throw bad_input("convert needs a GGUF file", {}, kConvertUsage);
  const std::string source = arguments.front();
  arguments.erase(arguments.begin());
  ConvertConfig config;
  config::load(config::describer(config), arguments);
  if (config.out.empty()) throw bad_input("no directory was named", {}, "name one with --out DIR");
  std::error_code ignored;
  if (std::filesystem::exists(config.out, ignored)) {
    throw bad_input(config.out + " is there already", "a conversion writes a directory of its own",
                    "remove it, or name another with --out");
  }

  const auto file = std::make_shared<const hub::GgufFile>(source);
  const model::ModelConfig model = model::gguf_config(*file);
  const tokenizer::TokenizerFiles tokens = tokenizer::tokenizer_files(vocabulary_of(*file, model));
  // What is written must also be readable: a wrong vocabulary is found now, not by the first run.
  tokenizer::Tokenizer::from_json(tokens.tokenizer_json, source + " (its tokenizer)");
  const std::string chat = file->text("tokenizer.chat_template", "");
  if (!chat.empty()) tokenizer::ChatTemplate parsed(chat);
  const DType dtype = config.dtype == "float32"    ? DType::kF32
                      : config.dtype == "bfloat16" ? DType::kBF16
                                                   : model::gguf_dtype(*file);
  const hub::DirectoryImage image = model::gguf_image(
      file, model, config.out, dtype,
      {{"tokenizer.json", tokens.tokenizer_json}, {"tokenizer_config.json", tokens.tokenizer_config_json}});
  const std::string what = fmt::format(
      "{}, {} layers of {}, vocabulary {}, {}; {}", model::architecture_of(model.family), model.num_layers,
      model.hidden_size, model.vocab_size, parameters_text(model.parameters()), formats_of(*file));
  if (!invocation.dry_run) write_image(image, invocation.log.level > LogLevel::kInfo);
  if (invocation.json) {
    fmt::print("{}\n", Json({{"source", source},
                             {"directory", config.out},
                             {"architecture", model::architecture_of(model.family)},
                             {"parameters", model.parameters()},
                             {"dtype", name_of(dtype)},
                             {"bytes", image.tensor_bytes()},
                             {"written", !invocation.dry_run}})
                           .dump());
  } else {
    fmt::print("{}{}: {} as {}\n", invocation.dry_run ? "would write " : "", config.out, what,
               name_of(dtype));
  }
  return 0;
}

}  // namespace

Command convert_command() {
  Command c;
  c.name = "convert";
  c.summary = "Make a Hugging Face model directory of a GGUF file.";
  c.usage = kConvertUsage;
  c.examples = {"rlcpp convert SmolLM2-135M-Instruct.Q4_1.gguf --out outputs/smollm2",
                "rlcpp convert model.Q8_0.gguf --out models/mine --dtype bfloat16"};
  describe_options<ConvertConfig>(c);
  c.run = run_convert;
  return c;
}

}  // namespace rlcpp::app
