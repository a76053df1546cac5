// Against Jinja2 with transformers' environment: whole templates of 15 families over 14 conversations, single
// expressions, and statements with their white space (tools/oracle_templates.py).
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/durable.h"
#include "base/error.h"
#include "data_path.h"
#include "tokenizer/chat_template.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

Json read_json(const std::string& name) {
  return Json::parse(durable::read_file(test::data_path("tokenizer/") + name));
}

struct Outcome {
  std::string text;
  std::string error;  // empty: none
};

Outcome outcome(const std::string& source, const Json& messages, bool generation, const Json& variables) {
  try {
    return {ChatTemplate(source).render(messages, generation, variables), ""};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("chat template line"), std::string::npos) << error.what();
    return {"", error.render()};
  }
}

TEST(TemplateGolden, FifteenFamilies) {
  const Json golden = read_json("templates.golden.json");
  std::map<std::string, std::string> sources;
  ASSERT_GE(golden["rows"].size(), 400u);
  for (const Json& row : golden["rows"]) {
    const std::string name = row[0];
    if (!sources.contains(name)) {
      sources[name] = name == "qwen3"
                          ? read_json("qwen3/tokenizer_config.json")["chat_template"].get<std::string>()
                          : durable::read_file(test::data_path("tokenizer/templates/") + name + ".jinja");
    }
    Json variables = golden["tokens"];
    variables.update(golden["variations"][row[2].get<std::size_t>()]);
    const bool generation = variables["add_generation_prompt"];
    variables.erase("add_generation_prompt");
    const Outcome ours =
        outcome(sources[name], golden["conversations"][row[1].get<std::string>()], generation, variables);
    SCOPED_TRACE(row[0].dump() + row[1].dump() + row[2].dump());
    if (row[3].is_object()) {
      EXPECT_NE(ours.error, "") << "Jinja2: " << row[3]["error"] << "\nours: " << ours.text;
    } else {
      EXPECT_EQ(ours.error, "");
      EXPECT_EQ(ours.text, row[3].get<std::string>());
    }
  }
  EXPECT_EQ(sources.size(), 15u);
}

// What Jinja2 can do and we refuse; all else must be equal, errors included.
void check_snippets(const std::string& file, std::size_t at_least, bool expressions,
                    const std::set<std::string>& refused) {
  const Json golden = read_json(file);
  ASSERT_GE(golden["rows"].size(), at_least);
  std::size_t met = 0;
  for (const Json& row : golden["rows"]) {
    const std::string snippet = row[0];
    const Outcome ours =
        outcome(expressions ? "{{ " + snippet + " }}" : snippet, {}, false, golden["context"]);
    SCOPED_TRACE(snippet);
    if (refused.contains(snippet)) {
      ++met;
      EXPECT_FALSE(row[1].is_object()) << "Jinja2 refuses it too";
      EXPECT_NE(ours.error, "") << ours.text;
    } else if (row[1].is_object()) {
      EXPECT_NE(ours.error, "") << "Jinja2: " << row[1]["error"] << "\nours: " << ours.text;
    } else {
      EXPECT_EQ(ours.error, "");
      EXPECT_EQ(ours.text, row[1].get<std::string>());
    }
  }
  EXPECT_EQ(met, refused.size());
}

TEST(TemplateGolden, Expressions) {
  check_snippets("expressions.golden.json", 1000, true,
                 {"d.fromkeys([1])", "1.5.real", "99999999999999999999", "5[0:1]", "people|groupby('age')",
                  "2 ** 63", "2 ** 64 - 1", "(-8) ** 0.5", "'{:d}'.format(3)", "'{0.real}'.format(3)",
                  "s.encode()", "s.isalnum()", "s.isidentifier()", "'abc'.translate({})", "1e20|int"});
}

TEST(TemplateGolden, Statements) {
  check_snippets("statements.golden.json", 150, false,
                 {"{% for x in l recursive %}{{ x }}{% endfor %}", "{% block x %}{% endblock %}",
                  "{% autoescape true %}<{% endautoescape %}", "{{ self }}"});
}

}  // namespace
}  // namespace rlcpp::tokenizer
