// Every code point is classified and normalised as HF does it (tools/oracle_unicode.py): checksums over all
// of them.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "data_path.h"
#include "support.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/definition.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::json;

class Checksum {  // FNV-1a, 64 bits
 public:
  void add(std::string_view text) {
    for (const char c : text) value_ = (value_ ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  }
  std::string hex() const { return fmt::format("{:016x}", value_); }

 private:
  std::uint64_t value_ = 0xCBF29CE484222325ULL;
};

template <class Visit>
void for_all_code_points(Visit visit) {
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    visit(text);
  }
}

Json golden() {
  return Json::parse(durable::read_file(test::data_path("tokenizer/unicode.golden.json")));
}

TEST(Unicode, RegularExpressionsKnowTheCharactersThatHfKnows) {
  const Json all = golden();
  ASSERT_GE(all["members"].size(), 20u);
  std::string everything;
  for_all_code_points([&](const std::string& text) { everything += text; });
  for (const auto& [pattern, expected] : all["members"].items()) {
    if (pattern == "word" || pattern == "digits") continue;
    std::vector<Span> found;
    Regex(pattern, "test").find_all(everything, found);
    Checksum sum;
    for (const Span& span : found)
      sum.add(std::string_view(everything).substr(span.begin, span.end - span.begin));
    EXPECT_EQ(found.size(), expected[0].get<std::size_t>()) << pattern;
    EXPECT_EQ(sum.hex(), expected[1].get<std::string>()) << pattern;
  }
}

TEST(Unicode, WordsAndDigitsAreThoseOfHf) {
  const Json all = golden();
  Checksum words;
  for_all_code_points([&](const std::string& text) {
    std::size_t pos = 0;
    if (is_word_character(next_code_point(text, pos))) words.add(text);
  });
  EXPECT_EQ(words.hex(), all["members"]["word"][1].get<std::string>());

  const Definition definition = parse_definition(
      R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
          {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}, "decoder": {"type": "ByteLevel"},
          "model": {"vocab": {}, "merges": []}})",
      "test");
  ASSERT_EQ(definition.steps.size(), 1u);
  Checksum digits;
  for_all_code_points([&](const std::string& text) {
    std::vector<Span> found;
    static const Regex regex(definition.steps[0].pattern, "test");
    regex.find_all(text, found);
    if (!found.empty()) digits.add(text);
  });
  EXPECT_EQ(digits.hex(), all["members"]["digits"][1].get<std::string>());
}

TEST(Unicode, NormalFormsAreThoseOfHf) {
  const std::map<std::string, Normalization> forms = {{"NFC", Normalization::kNfc},
                                                      {"NFD", Normalization::kNfd},
                                                      {"NFKC", Normalization::kNfkc},
                                                      {"NFKD", Normalization::kNfkd}};
  const Json all = golden();
  ASSERT_EQ(all["normal"].size(), 12u);
  for (const auto& [name, expected] : all["normal"].items()) {
    if (!name.starts_with("NFC ") && !test::long_tier()) continue;
    const std::string context = expected[0];
    const std::size_t at = context.find('@');
    const Normalization form = forms.at(name.substr(0, name.find(' ')));
    Checksum sum;
    for_all_code_points([&](const std::string& text) {
      sum.add(normalize(context.substr(0, at) + text + context.substr(at + 1), form));
    });
    EXPECT_EQ(sum.hex(), expected[1].get<std::string>()) << name;
  }
}

}  // namespace
}  // namespace rlcpp::tokenizer
