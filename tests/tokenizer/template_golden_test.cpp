// Against Jinja2 with transformers' environment: whole templates of 15 families over 14 conversations, single
// expressions, and statements with their white space (tools/oracle_templates.py).
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data_path.h"
#include "tokenizer/golden.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

Json read_json(const std::string& name) {
  return Json::parse(durable::read_file(test::data_path("tokenizer/") + name));
}

TEST(TemplateGolden, FifteenFamilies) {
  const Json golden = read_json("templates.golden.json");
  std::map<std::string, std::string> sources;
  ASSERT_GE(golden["rows"].size(), 400u);
  test::expect_golden_renderings(golden, [&](const std::string& name) -> const std::string& {
    if (!sources.contains(name)) {
      sources[name] = name == "qwen3"
                          ? read_json("qwen3/tokenizer_config.json")["chat_template"].get<std::string>()
                          : durable::read_file(test::data_path("tokenizer/templates/") + name + ".jinja");
    }
    return sources.at(name);
  });
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
    const test::Rendering ours =
        test::rendering_of(expressions ? "{{ " + snippet + " }}" : snippet, {}, false, golden["context"]);
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
