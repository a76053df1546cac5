#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include "tokenizer/qwen3.h"

namespace rlcpp::tokenizer {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(Tokenizer, Qwen3EncodesTheKnownSentence) {
  EXPECT_EQ(test::qwen3().encode("Hello, world! 12345"), (Ids{9707, 11, 1879, 0, 220, 16, 17, 18, 19, 20}));
  EXPECT_EQ(test::qwen3().vocab_size(), 151669);
}

}  // namespace
}  // namespace rlcpp::tokenizer
