#include "rollout/stop_matcher.h"

#include <string>
#include <vector>

#include "base/rng.h"
#include "support.h"

namespace rlcpp::rollout {
namespace {

// Against a search in the whole text, for random texts cut at random places.
TEST(StopMatcher, FindsWhatASearchInTheWholeTextFinds) {
  Rng rng(test::fresh_seed());
  const auto random_text = [&](std::uint64_t length) {
    std::string text;
    for (std::uint64_t i = 0; i < length; ++i) text += static_cast<char>('a' + rng.below(2));
    return text;
  };
  std::int64_t found_count = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> strings;
    for (std::uint64_t i = 0; i < 1 + rng.below(3); ++i) strings.push_back(random_text(1 + rng.below(7)));
    StopMatcher matcher;
    std::string whole;
    for (int token = 0; token < 12; ++token) {
      const std::string bytes = random_text(rng.below(5));  // a token may have no bytes at all
      const std::size_t old = whole.size();
      whole += bytes;
      bool expected = false;
      for (const std::string& text : strings) {
        for (std::size_t at = whole.find(text); at != std::string::npos; at = whole.find(text, at + 1)) {
          expected = expected || at + text.size() > old;  // ends within the new bytes
        }
      }
      ASSERT_EQ(matcher.feed(bytes, strings), expected) << "seed " << rng.seed() << ": " << whole;
      found_count += expected ? 1 : 0;
    }
  }
  EXPECT_GT(found_count, 1000);
}

TEST(StopMatcher, BytesOfOneCharacterMayComeInSeveralTokens) {
  const std::vector<std::string> strings{"\xe2\x82\xac"};
  StopMatcher matcher;
  EXPECT_FALSE(matcher.feed("a\xe2", strings));
  EXPECT_FALSE(matcher.feed("\x82", strings));
  EXPECT_TRUE(matcher.feed("\xac!", strings));
  EXPECT_FALSE(matcher.feed("", strings));
}

}  // namespace
}  // namespace rlcpp::rollout
