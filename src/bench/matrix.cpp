#include "bench/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace rlcpp::bench {
namespace {

template <class T>
T chosen(const std::optional<T>& row, const std::optional<T>& defaults, T otherwise) {
  if (row) return *row;
  return defaults ? *defaults : otherwise;
}

std::string base_name(const std::string& model) {
  return model.substr(model.find_last_of('/') + 1);
}

// What `rlcpp` is asked to do for a row: fake data at full length, random weights, no download
// (docs/benchmarking.md).
std::vector<std::string> arguments_of(const RunConfig& c, const std::string& device, std::int64_t max_steps,
                                      const std::vector<std::string>& extra) {
  const bool sft = c.type == "sft";
  std::vector<std::string> a = {
      sft ? "sft" : "trainer",     "--bench",     "--model.name",           c.model_name,
      "--model.debug.random-init", "--max-steps", std::to_string(max_steps)};
  const auto add = [&](const std::string& key, const std::string& value) {
    a.push_back(key);
    a.push_back(value);
  };
  const std::string rows = std::to_string(c.micro_batches * c.num_gpus);
  if (sft) {
    add("--data.type", "fake");
    add("--data.seq-len", std::to_string(c.seq_len));
    add("--data.batch-size", rows);
  } else {
    add("--data.fake.batch-size", rows);
    add("--model.seq-len", std::to_string(c.seq_len));
  }
  if (c.ac == "Recompute") add("--model.ac.mode", "full");
  if (c.ac == "Selective") add("--model.ac.mode", "selective");
  if (c.ac == "Attention") add("--model.ac.mode", "attention");
  if (c.ac == "OffloadAttention") a.emplace_back("--model.ac-offloading.attention");
  if (c.ac == "Offload") a.emplace_back("--model.ac-offloading");
  if (c.numeric_mode == "fp8") add("--model.quantization", "fp8");
  if (c.numeric_mode == "unordered") add("--deterministic", "false");
  if (c.numeric_mode == "exact" || c.numeric_mode == "fast") add("--numeric-mode", c.numeric_mode);
  if (c.lora_rank) add("--model.lora.rank", std::to_string(*c.lora_rank));
  if (c.publication == "files") add("--bench.publish-dir", "bench-published");
  if (!c.memory_limit.empty()) add("--memory-limit", c.memory_limit);
  add("--device", device);
  if (c.num_gpus > 1) add("--dist.ranks", std::to_string(c.num_gpus));
  a.insert(a.end(), extra.begin(), extra.end());
  return a;
}

}  // namespace

void MatrixRow::describe(config::Schema& s) {
  s.field("id", id, "Name of the row; None: made of model, type and length.");
  s.field("model_name", model_name, "A built-in model id, or a directory with a config.json.");
  s.field("type", type, "What is trained.").one_of({"sft", "rl"});
  s.field("num_gpus", num_gpus, "Devices of the job.").at_least(1);
  s.field("lora_rank", lora_rank, "Rank of LoRA adapters; None: full fine-tuning.").at_least(1);
  s.field("seq_len", seq_len, "Length of a packed row.").at_least(1).in("tokens");
  s.field("ac", ac, "What is kept between forward and backward.")
      .one_of({"None", "Selective", "Attention", "Recompute", "Offload", "OffloadAttention"});
  s.field("micro_batches", micro_batches, "Rows a device and optimizer step.").at_least(1);
  s.field("max_steps", max_steps, "Steps of the run, the first of them warm-up.").at_least(2);
  s.field(
       "publication", publication,
       "rl: how each step's weights reach the sampler, inside the interval: in the process or through files.")
      .one_of({"process", "files"});
  s.field("memory_limit", memory_limit, "Plan for a card with this much memory, e.g. 44GiB.");
  s.field("scaling", scaling,
          "A row of the scaling table: weak, the rows of a GPU stay, or strong, those of a step do.")
      .one_of({"weak", "strong"});
  s.field("numeric_mode", numeric_mode,
          "How the row computes: in a numeric mode, with fp8 (model.quantization), or unordered "
          "(deterministic = "
          "false); None: the device's own mode, exact on a CPU, fast on a GPU.")
      .one_of({"exact", "fast", "fp8", "unordered"});
  s.field("timeout", timeout, "The row is stopped, and shown as failed, after this time.")
      .at_least(1)
      .in("seconds");
  s.field("expected", expected, "How long the row takes in all, for --minutes; None: 25.")
      .at_least(1)
      .in("seconds");
  s.field("extra", extra, "Further arguments for the row's command.");
}

void Matrix::describe(config::Schema& s) {
  s.section("defaults", defaults, "Values for rows that do not set their own.");
  s.list("row", row, "One row of the page each.");
  s.field("device", device, "Where the rows run: auto, cpu, cuda or cuda:N.");
  s.field("results", results, "Directory of the result files.");
  s.field("only", only, "Run only rows whose id contains this text.");
  s.field("gpus", gpus, "Run only rows of these numbers of GPUs; empty: of any number.");
  s.field("minutes", minutes,
          "Time for all rows: one that would not end in it is left out, and the next is tried; 0: no limit.")
      .at_least(0)
      .in("minutes");
  s.field("plan_within", plan_within,
          "Run nothing: print what each row would take of a GPU with this much memory, e.g. 78.6GiB.");
  s.field("fresh", fresh,
          "Measure every row, also those that have the result of this commit, device and command.");
  s.field("repeats", repeats, "Fresh processes a row; the one with the median throughput is kept.")
      .at_least(1);
}

std::vector<PlannedRow> plan_rows(const Matrix& matrix) {
  std::vector<PlannedRow> planned;
  std::set<std::string> ids;
  const MatrixRow& d = matrix.defaults;
  for (const MatrixRow& row : matrix.row) {
    PlannedRow p;
    RunConfig& c = p.config;
    c.model_name = chosen<std::string>(row.model_name, d.model_name, "Qwen/Qwen3-0.6B");
    c.type = chosen<std::string>(row.type, d.type, "rl");
    c.num_gpus = chosen<std::int64_t>(row.num_gpus, d.num_gpus, 1);
    c.lora_rank = row.lora_rank ? row.lora_rank : d.lora_rank;
    c.seq_len = chosen<std::int64_t>(row.seq_len, d.seq_len, 512);
    c.ac = chosen<std::string>(row.ac, d.ac, "None");
    c.micro_batches = chosen<std::int64_t>(row.micro_batches, d.micro_batches, 2);
    c.timeout = chosen<std::int64_t>(row.timeout, d.timeout, 3600);
    c.publication = chosen<std::string>(row.publication, d.publication, "process");
    if (c.publication == "process") c.publication.clear();
    if (!c.publication.empty() && c.type == "sft") {
      throw bad_input("a row of type sft has publication = \"files\"", "sft publishes to nobody",
                      "remove it, or make the row one of rl");
    }
    c.memory_limit = chosen<std::string>(row.memory_limit, d.memory_limit, "");
    c.scaling = chosen<std::string>(row.scaling, d.scaling, "");
    c.numeric_mode = chosen<std::string>(row.numeric_mode, d.numeric_mode, "");
    p.max_steps = chosen<std::int64_t>(row.max_steps, d.max_steps, 4);
    p.expected = static_cast<double>(chosen<std::int64_t>(row.expected, d.expected, 25));
    std::vector<std::string> extra = d.extra;
    extra.insert(extra.end(), row.extra.begin(), row.extra.end());
    p.id =
        row.id
            ? *row.id
            : fmt::format(
                  "{}-{}-{}-{}-{}gpu-{}{}", base_name(c.model_name), c.type,
                  c.lora_rank ? fmt::format("lora{}", *c.lora_rank) : "full", c.seq_len, c.num_gpus, c.ac,
                  (c.publication.empty() ? "" : "-" + c.publication) +
                      (c.memory_limit.empty() ? "" : "-" + c.memory_limit) +
                      (c.scaling.empty() ? "" : "-" + c.scaling) +
                      (c.numeric_mode == "fp8" || c.numeric_mode == "unordered" ? "-" + c.numeric_mode : ""));
    if (!ids.insert(p.id).second) {
      throw bad_input("two rows of the matrix have the id \"" + p.id + "\"", "",
                      "give one of them an `id` of its own");
    }
    p.arguments = arguments_of(c, matrix.device, p.max_steps, extra);
    const bool named = matrix.only.empty() || p.id.find(matrix.only) != std::string::npos;
    const bool sized = matrix.gpus.empty() ||
                       std::find(matrix.gpus.begin(), matrix.gpus.end(), c.num_gpus) != matrix.gpus.end();
    if (named && sized) planned.push_back(std::move(p));
  }
  return planned;
}

std::vector<LeftOut> leave_out_larger(std::vector<PlannedRow>& rows, std::int64_t gpus) {
  std::vector<LeftOut> out;
  std::erase_if(rows, [&](const PlannedRow& row) {
    if (row.config.num_gpus <= gpus) return false;
    out.push_back(
        {row.id, fmt::format("it needs {} GPUs, and {} can be used here", row.config.num_gpus, gpus)});
    return true;
  });
  return out;
}

}  // namespace rlcpp::bench
