// The commands of the binary. A new command is a file and one line here.
#include "app/command.h"

namespace rlcpp::app {

std::vector<Command> all_commands() {
  return {
      sft_command(),
      rl_command(),
      trainer_command(),
      orchestrator_command(),
      tokenize_command(),
      convert_command(),
      chat_command(),
      logprobs_command(),
      bench_command(),
      bench_kernels_command(),
      bench_rollout_command(),
      bench_rl_command(),
      bench_publication_command(),
      bench_checkpoint_command(),
      report_command(),
      curves_command(),
      config_command(),
      completion_command(),
      doctor_command(),
  };
}

}  // namespace rlcpp::app
