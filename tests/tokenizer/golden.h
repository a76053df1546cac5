// Comparison with what HF's tokenizers and Jinja2 did, as tools/oracle_tokenizer.py and
// tools/oracle_templates.py write it down.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/durable.h"
#include "base/error.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace rlcpp::test {

inline std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return out;
}

// Ids, plain ids, decoded text and text without special tokens, of every string in `file`.
inline void expect_golden_tokens(const tokenizer::Tokenizer& tokenizer, const std::string& name,
                                 const std::string& file, std::size_t at_least) {
  using Json = nlohmann::json;
  using Ids = std::vector<std::int32_t>;
  const Json golden = Json::parse(durable::read_file(file));
  ASSERT_GE(golden["strings"].size(), at_least);
  for (const Json& row : golden["strings"]) {
    const std::string raw = from_hex(row[0]);
    const std::string seen = tokenizer::lossy_utf8(raw);
    const Json extra = row.size() > 2 ? row[2] : Json::object();
    const Ids ids = row[1].get<Ids>();
    SCOPED_TRACE(name + ": " + row[0].get<std::string>() + " = " + seen);
    ASSERT_EQ(tokenizer.encode(raw), ids);
    ASSERT_EQ(tokenizer.encode(raw, false), extra.value("plain", ids));
    const std::string decoded = extra.value("decoded", seen);
    ASSERT_EQ(tokenizer.decode(ids), decoded);
    ASSERT_EQ(tokenizer.decode(ids, true), extra.value("skipped", decoded));
  }
  for (const Json& row : golden["decodings"])
    ASSERT_EQ(tokenizer.decode(row[0].get<Ids>()), row[1].get<std::string>()) << row;
  EXPECT_EQ(tokenizer.encode("Hello there", true, true), golden["framed"].get<Ids>());
}

struct Rendering {
  std::string text;
  std::string error;  // empty: none
};

inline Rendering rendering_of(const std::string& source, const nlohmann::ordered_json& messages,
                              bool generation, const nlohmann::ordered_json& variables) {
  try {
    return {tokenizer::ChatTemplate(source).render(messages, generation, variables), ""};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("chat template line"), std::string::npos) << error.what();
    return {"", error.render()};
  }
}

// Every row of `golden`, whose templates are what source_of(name) gives; where Jinja2 failed we must fail.
template <class SourceOf>
void expect_golden_renderings(const nlohmann::ordered_json& golden, const SourceOf& source_of) {
  for (const nlohmann::ordered_json& row : golden["rows"]) {
    nlohmann::ordered_json variables = golden["tokens"];
    variables.update(golden["variations"][row[2].get<std::size_t>()]);
    const bool generation = variables["add_generation_prompt"];
    variables.erase("add_generation_prompt");
    const Rendering ours =
        rendering_of(source_of(row[0].get<std::string>()), golden["conversations"][row[1].get<std::string>()],
                     generation, variables);
    SCOPED_TRACE(row[0].dump() + row[1].dump() + row[2].dump());
    if (row[3].is_object()) {
      EXPECT_NE(ours.error, "") << "Jinja2: " << row[3]["error"] << "\nours: " << ours.text;
    } else {
      EXPECT_EQ(ours.error, "");
      EXPECT_EQ(ours.text, row[3].get<std::string>());
    }
  }
}

}  // namespace rlcpp::test
