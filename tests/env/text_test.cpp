#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"
#include "env/tags.h"
#include "env/unicode.h"
#include "support.h"

namespace rlcpp::env {
namespace {

TEST(Unicode, RoundTripOfEveryKindOfCodePoint) {
  std::u32string text;
  for (char32_t c = 0; c <= 0x10FFFF; c += 37) {
    if (c < 0xD800 || c > 0xDFFF) text.push_back(c);
  }
  for (const char32_t c : {0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF})
    text.push_back(c);
  EXPECT_EQ(to_code_points(to_utf8(text)), text);
}

TEST(Unicode, InvalidBytesBecomeReplacement) {
  const std::u32string bad = U"\uFFFD";
  EXPECT_EQ(to_code_points("\xFF"), bad);
  EXPECT_EQ(to_code_points("\xC0\x80"), bad + bad);            // overlong
  EXPECT_EQ(to_code_points("\xED\xA0\x80"), bad + bad + bad);  // surrogate
  EXPECT_EQ(to_code_points("\xF4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(to_code_points("a\xE6\xBC"), U"a" + bad + bad);  // cut short
  Rng rng(rlcpp::test::fresh_seed());
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (std::uint64_t i = rng.below(12); i > 0; --i) bytes.push_back(static_cast<char>(rng.below(256)));
    const std::u32string points = to_code_points(bytes);
    ASSERT_LE(points.size(), bytes.size());
    ASSERT_EQ(to_code_points(to_utf8(points)), points);
    ASSERT_LE(strip(bytes).size(), bytes.size());
  }
}

TEST(Unicode, StripAsPython) {
  EXPECT_EQ(strip(" \t\n x y \r\n"), "x y");
  EXPECT_EQ(strip("\xC2\xA0\xE3\x80\x80z\xE2\x80\xA9"), "z");  // U+00A0, U+3000, U+2029
  EXPECT_EQ(strip("\x1Cq\x1F"), "q");
  EXPECT_EQ(strip("\xE2\x80\x8Bx"), "\xE2\x80\x8Bx");  // U+200B is not space to Python
  EXPECT_EQ(strip(" \n "), "");
  EXPECT_EQ(strip(""), "");
}

TEST(Unicode, ReversedByCodePoint) {
  EXPECT_EQ(reversed("abc"), "cba");
  EXPECT_EQ(reversed("aé漢🙂"), "🙂漢éa");
  EXPECT_EQ(reversed(""), "");
}

TEST(Tags, FirstClosedTagStripped) {
  EXPECT_EQ(tag_content("x <t> a b\n </t> y <t>c</t>", "t"), "a b");
  EXPECT_EQ(tag_content("<t></t>", "t"), "");
  EXPECT_EQ(tag_content("<t>a<t>b</t></t>", "t"), "a<t>b");  // lazy: up to the first closing tag
  EXPECT_EQ(tag_content("</t><t>a</t>", "t"), "a");
  EXPECT_FALSE(tag_content("<t>a", "t").has_value());
  EXPECT_FALSE(tag_content("a</t>", "t").has_value());
  EXPECT_FALSE(tag_content("< t>a</t>", "t").has_value());
  EXPECT_FALSE(tag_content("", "t").has_value());
}

TEST(Tags, BoxedAndIntegers) {
  EXPECT_EQ(last_boxed("\\boxed{1} then \\boxed{ 2 }"), "2");
  EXPECT_EQ(last_boxed("\\boxed{\\frac{1}{2}}"), "\\frac{1}{2}");
  EXPECT_FALSE(last_boxed("\\boxed{1").has_value());
  EXPECT_FALSE(last_boxed("boxed{1}").has_value());
  EXPECT_EQ(last_integer("3 + 4 = -7."), "-7");
  EXPECT_EQ(last_integer("12"), "12");
  EXPECT_FALSE(last_integer("none").has_value());
}

}  // namespace
}  // namespace rlcpp::env
