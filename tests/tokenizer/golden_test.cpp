// Against HF's tokenizers: ids, decoded text and the reading of special tokens, over scripts, emoji, control
// characters, white space, combining marks, code and broken UTF-8 (tools/oracle_tokenizer.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "tokenizer/qwen3.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<std::int32_t>;

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return out;
}

void check(const Tokenizer& tokenizer, const std::string& name) {
  const Json golden = Json::parse(durable::read_file(test::data_path("tokenizer/") + name + ".golden.json"));
  ASSERT_GE(golden["strings"].size(), 400u);
  for (const Json& row : golden["strings"]) {
    const std::string raw = from_hex(row[0]);
    const std::string seen = lossy_utf8(raw);
    const Json extra = row.size() > 2 ? row[2] : Json::object();
    const Ids ids = row[1].get<Ids>();
    SCOPED_TRACE(name + ": " + row[0].get<std::string>() + " = " + seen);
    ASSERT_EQ(tokenizer.encode(raw), ids);
    ASSERT_EQ(tokenizer.encode(raw, false), extra.value("plain", ids));
    const std::string decoded = extra.value("decoded", seen);
    ASSERT_EQ(tokenizer.decode(ids), decoded);
    ASSERT_EQ(tokenizer.decode(ids, true), extra.value("skipped", decoded));
  }
  for (const Json& row : golden["decodings"]) ASSERT_EQ(tokenizer.decode(row[0].get<Ids>()), row[1]) << row;
  EXPECT_EQ(tokenizer.encode("Hello there", true, true), golden["framed"].get<Ids>());
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
