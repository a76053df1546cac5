#include "base/json_text.h"

#include <string>

#include "base/error.h"
#include "support.h"

namespace rlcpp {
namespace {

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

TEST(JsonText, NestingIsOfBracketsOutsideOfStrings) {
  EXPECT_EQ(json_nesting(""), 0);
  EXPECT_EQ(json_nesting("{\"a\": [1, {\"b\": []}]}"), 4);
  EXPECT_EQ(json_nesting("{\"[[[\\\"[[\": \"{{\"}"), 1);
  EXPECT_EQ(json_nesting(nested(1000)), 1000);
  EXPECT_EQ(json_nesting("]]]]["), 0) << "closed before it was open";
}

TEST(JsonText, WhatCannotBeReadIsDiscarded) {
  EXPECT_EQ(parse_json("[1, 2]").size(), 2U);
  EXPECT_FALSE(parse_json(nested(kDeepestJson)).is_discarded());
  for (const std::string& text :
       {nested(kDeepestJson + 1), nested(1'000'000), std::string("{"), std::string("1e999")})
    EXPECT_TRUE(parse_json(text).is_discarded()) << text.substr(0, 20);
  const auto ordered = parse_json<nlohmann::ordered_json>("{\"b\": 1, \"a\": 2}");
  EXPECT_EQ(ordered.dump(), "{\"b\":1,\"a\":2}");
}

TEST(JsonText, WhatIsThrownNamesTheLevels) {
  EXPECT_EQ(parse_json_or_throw(nested(kDeepestJson)).size(), 1U);
  EXPECT_THROW(parse_json_or_throw("{"), nlohmann::json::parse_error);
  try {
    parse_json_or_throw<nlohmann::ordered_json>(nested(1'000'000));
    FAIL() << "accepted";
  } catch (const nlohmann::json::exception& error) {
    EXPECT_NE(std::string(error.what()).find("nested 1000000 levels deep"), std::string::npos)
        << error.what();
  }
}

TEST(JsonText, AWholeNumberIsOneThatItsTypeHolds) {
  const auto number = [](const char* text) { return nlohmann::json::parse(text); };
  EXPECT_EQ(whole_number<std::int64_t>(number("-9223372036854775808")), INT64_MIN);
  EXPECT_EQ(whole_number<std::uint64_t>(number("18446744073709551615")), UINT64_MAX);
  EXPECT_EQ(whole_number<std::uint32_t>(nlohmann::ordered_json(7)), 7U);
  for (const char* text : {"4.5", "4.0", "1e300", "true", "null", "\"4\"", "[4]", "9223372036854775808"})
    EXPECT_THROW(whole_number<std::int64_t>(number(text)), nlohmann::json::type_error) << text;
  EXPECT_THROW(whole_number<std::uint32_t>(number("-1")), nlohmann::json::type_error);
  EXPECT_THROW(whole_number<std::int32_t>(number("2147483648")), nlohmann::json::type_error);
}

TEST(JsonText, ALineSaysWhatIsWrongWithIt) {
  const auto why = [](const std::string& line) {
    try {
      parse_json_line(line, "f.jsonl:3");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return error.render();
    }
    return std::string("accepted");
  };
  const auto has = [&](const std::string& line, const std::string& part) {
    const std::string text = why(line);
    EXPECT_NE(text.find("f.jsonl:3: "), std::string::npos) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(nested(300'000), "nested 300000 levels deep");
  has("{\"a\": 1", "malformed JSON at column 8");
  has("{\"a\": \"\xff\"}", "the line is not UTF-8");
  has("{\"a\": 1e999}", "a number is beyond");
  EXPECT_EQ(why("{}"), "accepted");
}

}  // namespace
}  // namespace rlcpp
