// Against HF's tokenizers: ids, decoded text and the reading of special tokens, over scripts, emoji, control
// characters, white space, combining marks, code and broken UTF-8 (tools/oracle_tokenizer.py).
#include <gtest/gtest.h>

#include "tokenizer/golden.h"
#include "tokenizer/qwen3.h"

namespace rlcpp::tokenizer {
namespace {

void check(const Tokenizer& tokenizer, const std::string& name) {
  test::expect_golden_tokens(tokenizer, name, test::data_path("tokenizer/" + name + ".golden.json"), 400);
}

TEST(TokenizerGolden, Qwen3) {
  check(test::qwen3(), "qwen3");
}

TEST(TokenizerGolden, Llama3Style) {
  check(Tokenizer::load(test::data_path("tokenizer/llama3-style.tokenizer.json")), "llama3-style");
}

TEST(TokenizerGolden, Gpt2Style) {
  check(Tokenizer::load(test::data_path("tokenizer/gpt2-style.tokenizer.json")), "gpt2-style");
}

TEST(TokenizerGolden, EverySplitBehaviour) {
  check(Tokenizer::load(test::data_path("tokenizer/split-style.tokenizer.json")), "split-style");
}

}  // namespace
}  // namespace rlcpp::tokenizer
