#include "data/config.h"

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::data {

void LossMaskConfig::describe(config::Schema& s) {
  s.field("system", system, "Train on the tokens of system messages.");
  s.field("user", user, "Train on the tokens of user messages.");
  s.field("assistant", assistant,
          "Train on what the assistant says; never on the header that opens its turn.");
  s.field("tool", tool, "Train on the tokens of tool results.");
}

bool LossMaskConfig::of(const std::string& role) const {
  if (role == "assistant") return assistant;
  if (role == "user") return user;
  if (role == "system" || role == "developer") return system;
  if (role == "tool") return tool;
  return false;
}

void DataConfig::describe(config::Schema& s) {
  s.field("type", type, "sft: rows of a data set; fake: made-up tokens of full length, for benchmarks.")
      .one_of({"sft", "fake"});
  s.field(
       "name", name,
       "Data set: a file of rows (.jsonl; .json with a list or with lines; either with .zst; .parquet), a "
       "directory "
       "with <split>.jsonl or with files named as the hub's are, or the id of a data set of the hub "
       "(org/name, org/name@revision), which is taken from the Hugging Face cache or downloaded. Rows have "
       "`messages`, or `prompt` and `completion`, and optionally `tools` and `chat_template_kwargs`.")
      .alias("dataset_name")
      .alias("path");
  s.field(
      "subsets", subsets,
      "Subsets (configurations) of the data set: those that the header of its README.md names, else folders "
      "of it, or how its files begin. Several are mixed (stopping_strategy). Empty: the default one; if "
      "there is none among several, one must be named.");
  s.field("splits", splits,
          "Splits to read from a directory or the hub: <split>.jsonl, or the files with that word in their "
          "names. With subsets: one for each, or one for all. Empty: train.");
  s.field(
      "probabilities", probabilities,
      "Chances of the pairs of subset and split, summing to 1: the next row comes from one that is drawn. "
      "Empty: from each in turn.");
  s.field(
       "stopping_strategy", stopping_strategy,
       "Where a mixture of several subsets or splits ends, after which comes the next epoch: "
       "first_exhausted, with the last row of the one that ends first; all_exhausted, when every row of all "
       "was taken, and shorter ones were repeated; concatenate: nothing is mixed or repeated, they come one "
       "after the other (with shuffle: all rows in any order).")
      .one_of({"all_exhausted", "first_exhausted", "concatenate"});
  s.field("batch_size", batch_size, "Rows of seq_len tokens in an optimizer step.").at_least(1).in("rows");
  s.field("seq_len", seq_len, "Length of a packed row. Longer samples are cut, and counted.")
      .at_least(2)
      .in("tokens")
      .alias("max_length")
      .alias("max_seq_length");
  s.field("micro_batch_size", micro_batch_size,
          "Rows that go through the model together; divides batch_size. Changes memory and speed, not the "
          "result.")
      .at_least(1)
      .in("rows")
      .alias("per_device_train_batch_size");
  s.field("pack_function", pack_function,
          "How samples become rows: cat puts whole samples one after the other so that rows are full; stack "
          "takes "
          "samples of like length (buckets of 256 tokens times powers of two), as padded batches do, without "
          "padding: rows carry their lengths.")
      .one_of({"cat", "stack"});
  s.field("shuffle", shuffle, "Read the rows in another order in each epoch.");
  s.field("seed", seed, "Seed of the order and of fake tokens, on top of the run's seed.");
  s.section("loss_mask", loss_mask, "Roles whose tokens are trained.");
  s.field("length", length, "type fake: every sample seq_len long, or of random length.")
      .one_of({"fixed", "variable"});
  s.field("input_ids", input_ids,
          "type fake: increasing repeats the sample's number, random draws from the vocabulary.")
      .one_of({"increasing", "random"});
  s.field(
      "dump", dump,
      "For comparing with other trainers: a file to which the packed rows of each step are added before it "
      "is "
      "trained, one JSON line a step: step, and rows with ids, cu_seqlens (where documents begin, and the "
      "end) and mask (1: the token is trained). Empty: none.");
  s.refused("num_workers",
            "data.num_workers is not needed: rows are tokenised ahead of the step by a thread of the process")
      .unless({"0", "1"});
}

namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 48;  // of a step: products stay far from overflow

}  // namespace

void DataConfig::validate() const {
  if (pack_function == "stack" && seq_len % 256 != 0) {
    throw bad_input(
        "data.pack_function = \"stack\" needs a data.seq_len that 256 divides",
        fmt::format("it is {}", seq_len),
        fmt::format("set data.seq_len to {}, or data.pack_function to cat", (seq_len / 256 + 1) * 256));
  }
  if (batch_size > kMostTokens / seq_len || micro_batch_size > kMostTokens / seq_len) {
    throw bad_input("a step has more tokens than any memory holds",
                    fmt::format("{} rows of {} tokens, {} at a time", batch_size, seq_len, micro_batch_size),
                    "lower data.batch_size, data.micro_batch_size or data.seq_len");
  }
  if (batch_size % micro_batch_size != 0) {
    throw bad_input("data.micro_batch_size does not divide data.batch_size",
                    fmt::format("{} rows in groups of {}", batch_size, micro_batch_size),
                    fmt::format("set data.batch_size to {} or data.micro_batch_size to 1",
                                (batch_size / micro_batch_size + 1) * micro_batch_size));
  }
  if (type == "sft" && name.empty()) {
    throw bad_input("data.name is not set", "type sft trains on the rows of a data set",
                    "set data.name to a .jsonl file, or use data.type = \"fake\"");
  }
}

}  // namespace rlcpp::data
