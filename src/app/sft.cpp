// rlcpp sft: supervised fine-tuning.
#include "app/command.h"
#include "app/run_bench.h"
#include "app/run_sft.h"

namespace rlcpp::app {
namespace {

// --bench: the same run, its steps handed to the recorder.
int run_benchmark(SftConfig config, const config::Loaded& loaded, const Invocation& invocation) {
  config.apply_bench();
  BenchRun record(*config.bench, {.type = "sft",
                                  .model_name = config.model.name,
                                  .seq_len = config.data.seq_len,
                                  .micro_batches = config.data.batch_size,
                                  .ac = ac_text(config.model),
                                  .publication = {},
                                  .memory_limit = config.run.memory_limit.value_or(""),
                                  .numeric_mode = mode_text(config.model, config.run)});
  const SftOutcome outcome = run_sft(config, loaded, invocation, record.hooks());
  if (outcome.exit == ExitCode::kDone && outcome.first && !invocation.dry_run) record.finish(invocation.json);
  return static_cast<int>(outcome.exit);
}

}  // namespace

Command sft_command() {
  Command command;
  command.name = "sft";
  command.summary = "Train a model on conversations (supervised fine-tuning).";
  command.usage = "rlcpp sft @ FILE.toml [--key value ...]";
  command.examples = {"rlcpp sft @ configs/sft/reverse-text.toml --output-dir outputs/sft",
                      "rlcpp sft @ configs/sft/reverse-text.toml --dry-run"};
  describe_options<SftConfig>(command);
  command.run = [](const Invocation& invocation) {
    SftConfig config;
    const config::Loaded loaded = config::load(config::describer(config), invocation.arguments);
    if (config.bench) return run_benchmark(config, loaded, invocation);
    return static_cast<int>(run_sft(config, loaded, invocation).exit);
  };
  return command;
}

}  // namespace rlcpp::app
