#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/config/load.h"
#include "base/config/walk.h"

namespace rlcpp::config {
namespace {

// Names that users bring along from Hugging Face TrainingArguments, TRL, PEFT, verl and vLLM, with ours in
// order of preference; the first that the command knows, at the end of some dotted key, is the answer.
struct Foreign {
  std::string_view theirs;
  std::array<std::string_view, 3> ours;
};
constexpr Foreign kForeign[] = {
    {"learning_rate", {"optim.lr", "lr"}},
    {"per_device_train_batch_size", {"data.micro_batch_size", "micro_batch_size"}},
    {"train_micro_batch_size_per_gpu", {"data.micro_batch_size", "micro_batch_size"}},
    {"per_device_batch_size", {"data.micro_batch_size", "micro_batch_size"}},
    {"per_device_eval_batch_size", {"val.batch_size", "data.micro_batch_size", "micro_batch_size"}},
    {"train_batch_size", {"data.batch_size", "batch_size"}},
    {"global_batch_size", {"data.batch_size", "batch_size"}},
    {"generation_batch_size", {"batch_size"}},
    {"gradient_accumulation_steps", {"data.batch_size", "batch_size", "data.micro_batch_size"}},
    {"max_seq_length", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"max_seq_len", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"max_length", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"model_max_length", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"sequence_length", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"sequence_len", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"seq_length", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"block_size", {"data.seq_len", "seq_len", "model.seq_len"}},
    {"max_model_len", {"max_model_len", "seq_len"}},
    {"num_train_epochs", {"data.epochs", "epochs", "max_steps"}},
    {"num_epochs", {"data.epochs", "epochs", "max_steps"}},
    {"train_steps", {"max_steps"}},
    {"total_steps", {"max_steps"}},
    {"warmup_steps", {"scheduler.warmup_steps", "warmup_steps"}},
    {"num_warmup_steps", {"scheduler.warmup_steps", "warmup_steps"}},
    {"warmup_ratio", {"scheduler.warmup_ratio", "scheduler.warmup_steps", "warmup_steps"}},
    {"lr_scheduler_type", {"scheduler.type"}},
    {"lr_scheduler", {"scheduler.type", "scheduler"}},
    {"min_lr_rate", {"scheduler.min_lr", "min_lr"}},
    {"weight_decay", {"optim.weight_decay", "weight_decay"}},
    {"max_grad_norm", {"optim.max_norm", "max_norm"}},
    {"gradient_clipping", {"optim.max_norm", "max_norm"}},
    {"grad_clip", {"optim.max_norm", "max_norm"}},
    {"clip_grad", {"optim.max_norm", "max_norm"}},
    {"adam_beta1", {"optim.betas1", "optim.beta1"}},
    {"adam_beta2", {"optim.betas2", "optim.beta2"}},
    {"beta1", {"optim.betas1", "optim.beta1"}},
    {"beta2", {"optim.betas2", "optim.beta2"}},
    {"adam_epsilon", {"optim.eps", "eps"}},
    {"adam_eps", {"optim.eps", "eps"}},
    {"epsilon", {"optim.eps", "eps"}},
    {"optim_type", {"optim.type"}},
    {"optimizer", {"optim.type", "optim"}},
    {"model_name_or_path", {"model.name", "name"}},
    {"model_name", {"model.name", "name"}},
    {"model_id", {"model.name", "name"}},
    {"dataset_name", {"data.name", "name"}},
    {"dataset_path", {"data.name", "name"}},
    {"train_file", {"data.name", "name"}},
    {"dataset", {"data.name", "data"}},
    {"output_dir", {"output_dir"}},
    {"out_dir", {"output_dir"}},
    {"save_dir", {"output_dir"}},
    {"save_steps", {"ckpt.interval"}},
    {"save_interval", {"ckpt.interval"}},
    {"save_total_limit", {"ckpt.keep_last", "ckpt.keep"}},
    {"resume_from_checkpoint", {"ckpt.resume_step", "resume_step"}},
    {"logging_steps", {"log.interval", "monitor.interval"}},
    {"log_level", {"log.level"}},
    {"eval_steps", {"val.interval", "eval.interval"}},
    {"report_to", {"wandb", "monitor", "log"}},
    {"data_seed", {"data.seed", "seed"}},
    {"random_seed", {"seed"}},
    {"num_generations", {"rollouts_per_example"}},
    {"num_samples_per_prompt", {"rollouts_per_example"}},
    {"group_size", {"rollouts_per_example"}},
    {"beta", {"loss.kl_tau", "kl_tau"}},
    {"kl_coef", {"loss.kl_tau", "kl_tau"}},
    {"kl_coeff", {"loss.kl_tau", "kl_tau"}},
    {"temperature", {"sampling.temperature", "temperature"}},
    {"max_completion_length", {"sampling.max_tokens", "max_tokens"}},
    {"max_new_tokens", {"sampling.max_tokens", "max_tokens"}},
    {"max_prompt_length", {"seq_len"}},
    {"top_p", {"sampling.top_p", "top_p"}},
    {"top_k", {"sampling.top_k", "top_k"}},
    {"bf16", {"model.dtype", "model.optimization_dtype", "dtype"}},
    {"fp16", {"model.dtype", "model.optimization_dtype", "dtype"}},
    {"torch_dtype", {"model.dtype", "model.optimization_dtype", "dtype"}},
    {"gradient_checkpointing", {"model.ac"}},
    {"activation_checkpointing", {"model.ac"}},
    {"recompute", {"model.ac"}},
    {"use_lora", {"model.lora"}},
    {"use_peft", {"model.lora"}},
    {"lora_r", {"lora.rank", "model.lora"}},
    {"lora_rank", {"lora.rank", "model.lora"}},
    {"r", {"lora.rank"}},
    {"lora_alpha", {"lora.alpha", "model.lora"}},
    {"lora_dropout", {"lora.dropout", "model.lora"}},
    {"lora_target_modules", {"lora.target_modules", "model.lora"}},
    {"packing", {"data.pack_function", "data.packing", "data"}},
    {"shuffle_dataset", {"data.shuffle", "shuffle"}},
    {"assistant_only_loss", {"data.loss_mask", "loss_mask"}},
    {"num_proc", {"threads", "num_threads"}},
    {"dataset_num_proc", {"threads", "num_threads"}},
    {"environment", {"env"}},
    {"gpu_memory_utilization", {"gpu_memory_utilization", "memory"}},
};

// Sections under other names; only those before the last component are looked up here.
constexpr std::pair<std::string_view, std::string_view> kSections[] = {
    {"checkpoint", "ckpt"}, {"checkpointing", "ckpt"},
    {"optimizer", "optim"}, {"lr_scheduler", "scheduler"},
    {"dataset", "data"},    {"validation", "val"},
    {"logging", "log"},     {"peft", "model.lora"},
    {"lora", "model.lora"}, {"sampling_params", "sampling"},
    {"environment", "env"},
};

std::string last_part(const std::string& key) {
  return key.substr(key.rfind('.') + 1);
}
std::string parent_part(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] =
          std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::size_t shared_parents(const std::string& a, const std::string& b) {
  const auto x = split_key(parent_part(a));
  const auto y = split_key(parent_part(b));
  std::size_t shared = 0;
  for (const std::string& part : x) {
    if (!part.empty() && std::find(y.begin(), y.end(), part) != y.end()) ++shared;
  }
  return shared;
}

std::vector<std::string> sorted_words(const std::string& name) {
  std::vector<std::string> words(1);
  for (const char c : name) {
    if (c == '_') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  std::sort(words.begin(), words.end());
  return words;
}

// "zero_level" of "zero": the same name with words in front or behind.
bool is_longer_by_words(const std::string& name, const std::string& of) {
  return name.starts_with(of + "_") || name.ends_with("_" + of);
}

std::string foreign(const std::string& key, const std::vector<std::string>& known) {
  const std::string last = last_part(key);
  for (const Foreign& name : kForeign) {
    if (name.theirs != last) continue;
    for (const std::string_view ours : name.ours) {
      if (ours.empty()) continue;
      const std::string* best = nullptr;
      for (const std::string& candidate : known) {
        if (candidate == key || (candidate != ours && !candidate.ends_with("." + std::string(ours))))
          continue;
        if (best == nullptr || shared_parents(key, candidate) > shared_parents(key, *best)) best = &candidate;
      }
      if (best != nullptr) return *best;
    }
  }
  return {};
}

}  // namespace

std::string nearest(const std::string& asked, const std::vector<std::string>& known) {
  std::string key = asked;
  std::replace(key.begin(), key.end(), '-', '_');
  std::transform(key.begin(), key.end(), key.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (std::find(known.begin(), known.end(), key) != known.end()) return key;
  if (std::string answer = foreign(key, known); !answer.empty()) return answer;
  for (const auto& [theirs, ours] : kSections) {
    if (!key.starts_with(std::string(theirs) + ".")) continue;
    return nearest(std::string(ours) + key.substr(theirs.size()), known);
  }

  const std::string last = last_part(key);
  const auto words = sorted_words(last);
  std::string best;
  // Smaller is nearer; ties go to the candidate that shares more parents, then to the shorter key.
  std::tuple<std::size_t, std::size_t, std::size_t> best_score{};
  for (const std::string& candidate : known) {
    const std::string name = last_part(candidate);
    const bool same_parent = parent_part(key) == parent_part(candidate);
    // A section that was named and is right weighs more than a name that fits elsewhere.
    const bool in_section = same_parent && !parent_part(key).empty();
    // A misspelt key in its own section, a misspelt section, or the right name in the wrong section.
    std::size_t score = 1000;
    const std::size_t whole = distance(key, candidate);
    if (whole <= std::max<std::size_t>(1, (same_parent ? last.size() : key.size()) / 3))
      score = 2 * whole - (in_section && whole > 0 ? 1 : 0);
    const std::size_t part = distance(last, name);
    if (part <= last.size() / 4) score = std::min(score, 2 * part + 1);
    if (words.size() > 1 && words == sorted_words(name))
      score = std::min<std::size_t>(score, same_parent ? 1 : 2);
    if (in_section && (is_longer_by_words(last, name) || is_longer_by_words(name, last)))
      score = std::min<std::size_t>(score, 3);
    if (score == 1000) continue;
    const std::tuple<std::size_t, std::size_t, std::size_t> full{score, 100 - shared_parents(key, candidate),
                                                                 candidate.size()};
    if (best.empty() || full < best_score) best = candidate, best_score = full;
  }
  return best;
}

}  // namespace rlcpp::config
