// A tiny world for `rlcpp sft`: data, tokenizer and model directory, made once; and ways to run the binary in
// it.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "world.h"

namespace rlcpp::test {

class SftWorld : public World {
 public:
  SftWorld() {
    std::string train, val;
    for (int i = 0; i < 120; ++i) {
      (i < 100 ? train : val) +=
          "{\"prompt\": \"say " + std::to_string(i % 10) + "\", \"completion\": \"" +
          std::string(1 + static_cast<std::size_t>(i % 7), static_cast<char>('a' + i % 10)) + "\"}\n";
    }
    file("train.jsonl", train);
    file("validation.jsonl", val);
    file("model/config.json", kTinyModel);
    const auto made = run({"tokenize", "train", "--data", *this / "train.jsonl", "--vocab-size", "300",
                           "--out", *this / "tokenizer"});
    EXPECT_EQ(made.code, 0) << made.err;
  }

  // `rlcpp sft` on this world, 6 steps into <dir>/<out>; later arguments win over these.
  std::vector<std::string> sft(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"sft",
                                      "--model.name",
                                      *this / "model",
                                      "--tokenizer.name",
                                      *this / "tokenizer",
                                      "--data.name",
                                      dir().path(),
                                      "--data.batch-size",
                                      "4",
                                      "--data.seq-len",
                                      "64",
                                      "--optim.lr",
                                      "1e-2",
                                      "--threads",
                                      "1",
                                      "--output-dir",
                                      *this / out};
    bool steps = false;
    for (const std::string& word : more) {
      // A key given twice is the user's mistake, so a later one takes the place of an earlier one here.
      const auto at = word.starts_with("--") ? std::find(words.begin(), words.end(), word) : words.end();
      if (at != words.end()) words.erase(at, at + 2);
      steps = steps || word == "--max-steps";
    }
    if (!steps) words.insert(words.end(), {"--max-steps", "6"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

}  // namespace rlcpp::test
