// rlcpp chat: talk with a model directory.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/chat_session.h"
#include "app/command.h"
#include "app/run_config.h"
#include "app/run_engine.h"
#include "app/run_model.h"
#include "base/error.h"
#include "base/json_text.h"
#include "model/adapter_files.h"
#include "ops/matmul.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct ChatConfig {
  ModelSection model;
  TokenizerSection tokenizer;
  std::string adapter, prompt, system, variables = "{}", device = "auto";
  std::int64_t max_tokens = 512, context = 4096, top_k = -1, seed = 0, threads = 0;
  double temperature = 0, top_p = 1, min_p = 0, repetition_penalty = 1;
  std::optional<std::string> memory_limit;

  void describe(config::Schema& s) {
    s.section("model", model, "The model to talk with.");
    s.section("tokenizer", tokenizer, "The model's own if not named.");
    s.field(
        "adapter", adapter,
        "Directory of a LoRA adapter beside the model, as peft's save_pretrained or rlcpp writes it; empty: "
        "none. It is not merged.");
    s.field(
        "prompt", prompt,
        "Say this, print the answer and end. Empty: a conversation, one line of stdin a turn; /new begins "
        "another, end of input ends.");
    s.field("system", system, "System message; empty: what the chat template says of its own accord.");
    s.field("variables", variables,
            "Further variables of the chat template, as JSON: {\"enable_thinking\": false}.");
    s.field("max_tokens", max_tokens, "Tokens of an answer at most.")
        .at_least(1)
        .at_most(1 << 20)
        .in("tokens");
    s.field("context", context, "Tokens of the conversation at most; the model's positions if it has fewer.")
        .at_least(2)
        .at_most(1 << 20)
        .in("tokens");
    s.field("temperature", temperature, "0: always the likeliest token; else what logits are divided by.")
        .at_least(0)
        .at_most(100);
    s.field("top_k", top_k, "Only the k likeliest tokens; -1: all.").at_least(-1).at_most(1 << 24);
    s.field("top_p", top_p, "Only the likeliest tokens that weigh this together.").above(0).at_most(1);
    s.field("min_p", min_p, "Only tokens at least this likely, as a share of the likeliest.")
        .at_least(0)
        .at_most(1);
    s.field("repetition_penalty", repetition_penalty, "Above 1: tokens that were there are less likely.")
        .above(0)
        .at_most(100);
    s.field("seed", seed, "Seed of the draws.");
    s.field("device", device, "Where to run: auto, cpu, cuda or cuda:N.");
    s.field("threads", threads, "CPU threads; 0: one a core. Answers do not depend on it.")
        .at_least(0)
        .at_most(1024);
    s.field("memory_limit", memory_limit,
            "Refuse to start if the memory plan is larger, e.g. 4GiB; None: the memory that is free.");
  }
};

ChatOptions chat_options(const ChatConfig& config, const RunModel& model,
                         const tokenizer::Tokenizer& tokenizer) {
  ChatOptions options;
  options.adapter = config.adapter;
  options.system = config.system;
  options.variables = parse_json<Json>(config.variables);
  if (!options.variables.is_object())
    throw bad_input("--variables must be a JSON object", {}, "write e.g. '{\"enable_thinking\": false}'");
  options.max_tokens = config.max_tokens;
  options.max_model_len = std::min(config.context, model.config.max_position);
  options.sampling.temperature = static_cast<float>(config.temperature);
  options.sampling.top_k = config.top_k <= 0 ? -1 : static_cast<std::int32_t>(config.top_k);
  options.sampling.top_p = static_cast<float>(config.top_p);
  options.sampling.min_p = static_cast<float>(config.min_p);
  options.sampling.repetition_penalty = static_cast<float>(config.repetition_penalty);
  options.seed = static_cast<std::uint64_t>(config.seed);
  const auto stop = [&](std::int64_t id) {
    if (id < 0 || id >= model.config.vocab_size) return;
    if (std::ranges::find(options.stop_ids, id) == options.stop_ids.end())
      options.stop_ids.push_back(static_cast<std::int32_t>(id));
  };
  for (const std::int64_t id : model.config.eos_token_ids) stop(id);
  stop(tokenizer.eos_id());
  return options;
}

void print_reply(const ChatReply& reply, bool json) {
  if (!json) {
    fmt::print("\n");
  } else {
    fmt::print("{}\n", Json({{"text", reply.text},
                             {"ids", reply.ids},
                             {"finish", reply.finish},
                             {"prompt_tokens", reply.prompt_tokens},
                             {"cached_tokens", reply.cached_tokens},
                             {"seconds", reply.seconds}})
                           .dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  std::fflush(stdout);
}

void warn_of_lost_bytes(const tokenizer::Tokenizer& tokenizer, const std::string& text, Logger& log) {
  const std::size_t lost = tokenizer.lost_bytes(text);
  if (lost == 0) return;
  log.warn(fmt::format("the model does not see {} bytes of this: its tokenizer has no token for them", lost));
}

// One answer, or one for each line of stdin.
void converse(ChatSession& session, const tokenizer::Tokenizer& tokenizer, const ChatConfig& config,
              bool json, Logger& log) {
  const auto show = [json](std::string_view piece) {
    if (json) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  if (!config.prompt.empty()) {
    warn_of_lost_bytes(tokenizer, config.prompt, log);
    print_reply(session.say(config.prompt, show), json);
    return;
  }
  const bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
  const auto ask = [&] {
    if (terminal) fmt::print(stderr, "> ");
  };
  ask();
  for (std::string line; std::getline(std::cin, line); ask()) {
    if (line == "/new") {
      session.reset();
      continue;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    warn_of_lost_bytes(tokenizer, line, log);
    try {
      print_reply(session.say(line, show), json);
    } catch (const Error& error) {
      // Somebody who types goes on; a script must notice.
      if (!terminal || error.code() != ExitCode::kBadInput) throw;
      log.error(fmt::format("{}: {}; {}", error.what(), error.because(), error.help()));
    }
  }
}

int run_chat(const Invocation& invocation) {
  ChatConfig config;
  std::vector<std::string> arguments = invocation.arguments;
  // A directory may stand first, without its key.
  if (!arguments.empty() && !arguments.front().starts_with("-") && arguments.front() != "@")
    arguments.insert(arguments.begin(), "--model.name");
  config::load(config::describer(config), arguments);
  const RunModel model = resolve_model(config.model, config.seed, false);
  const std::string tokenizer_dir = tokenizer_directory(config.tokenizer, model);
  const auto tokenizer = tokenizer::Tokenizer::load(tokenizer_dir);
  require_vocabulary(model, tokenizer.vocab_size(), tokenizer_dir);
  const ChatOptions options = chat_options(config, model, tokenizer);
  const std::string own = config.tokenizer.template_text();
  const std::string& chat_template = own.empty() ? tokenizer.chat_template() : own;

  bool absent = false;
  const DeviceChoice device =
      invocation.dry_run ? choose_planned_device(config.device, &absent) : choose_device(config.device);
  ThreadPool pool(static_cast<int>(config.threads));
  const ops::Context ctx =
      absent ? ops::planning_context(device.device, pool) : ops::make_context(device.device, pool);
  rollout::EngineConfig engine_config;
  engine_config.max_sequences = 1;
  engine_config.max_batch_tokens = 256;
  engine_config.max_model_len = options.max_model_len;
  if (!config.adapter.empty()) {
    engine_config.max_loras = 1;
    engine_config.max_lora_rank = model::read_adapter_config(config.adapter).rank;
  }
  MemoryPlan plan;
  const ModelRegions model_regions = plan_policy(ctx, model.config, plan, options.max_model_len);
  const auto engine_regions = plan_engine(ctx, model.config, engine_config, plan);
  RunSection run;
  run.memory_limit = config.memory_limit;
  const std::size_t limit = run.memory_limit_bytes(device.device);
  Logger log(invocation.log);
  log.debug("device    " + device_text(device, ctx));
  log.debug("model     " + model.text);
  if (invocation.dry_run) {
    fmt::print("{}", plan.table(limit));
    return 0;
  }
  plan.require_fits(limit, {"--context N: a shorter conversation", "a smaller model"});

  const Arena arena(plan, device.device);
  const ModelMemory memory = make_model(model.config, arena, model_regions);
  fill_weights(model, memory.full(), config.seed, pool);
  model::pack_all(ctx, memory.packed, memory.weights);
  const auto engine = make_engine(ctx, model.config, engine_config, arena, engine_regions, memory,
                                  [&](std::int32_t id) { return tokenizer.token_bytes(id); });
  if (!config.adapter.empty()) engine->load_adapter(options.adapter, config.adapter);
  ChatSession session(*engine, tokenizer, chat_template, options);
  if (!session.has_template())
    log.warn(tokenizer_dir + " has no chat template: text is continued, not answered");
  converse(session, tokenizer, config, invocation.json, log);
  return 0;
}

}  // namespace

Command chat_command() {
  Command c;
  c.name = "chat";
  c.summary = "Talk with a model: one answer (--prompt), or a conversation on stdin.";
  c.usage = "rlcpp chat DIR [--prompt TEXT] [--system TEXT] [--temperature T] [--max-tokens N]";
  c.examples = {"rlcpp chat outputs/smollm2 --prompt 'What is the capital of France?'",
                "rlcpp chat --model.name outputs/sft/weights/step_22 --temperature 0.7",
                "rlcpp chat models/base --adapter outputs/lora/weights/step_22/lora_adapters"};
  describe_options<ChatConfig>(c);
  c.run = run_chat;
  return c;
}

}  // namespace rlcpp::app
