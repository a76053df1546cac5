// A template that nobody here has written must end soon, use little, and reach nothing but its variables.
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

#include "base/durable.h"
#include "base/error.h"
#include "data_path.h"
#include "support.h"
#include "tokenizer/chat_template.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

std::string render(const std::string& source, const Json& variables = {}) {
  return ChatTemplate(source).render(Json::array(), false, variables);
}

std::string complaint(const std::string& source, const Json& variables = {}) {
  try {
    render(source, variables);
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.render();
  }
}

TEST(TemplateLimits, WorkIsBounded) {
  EXPECT_NE(complaint("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}")
                .find("operations"),
            std::string::npos);
  EXPECT_NE(complaint("{% for i in range(1000) %}{% for j in range(1000) %}{{ j }}{% endfor %}{% endfor %}")
                .find("operations"),
            std::string::npos);
  EXPECT_NE(complaint("{% set x = 'a' * 4000000 %}{% for i in range(100000) %}{{ (x|upper)[0] }}{% endfor %}")
                .find("operations"),
            std::string::npos);
  EXPECT_NE(
      complaint("{% set l = range(90000)|list %}{% for i in l %}{{ i in l }}{% endfor %}").find("operations"),
      std::string::npos);
  // A conversation of 2,000 turns is no attack.
  Json many = Json::array();
  for (int i = 0; i < 2000; ++i)
    many.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", "turn " + std::to_string(i)}});
  const std::string source = Json::parse(
      durable::read_file(test::data_path("tokenizer/qwen3/tokenizer_config.json")))["chat_template"];
  EXPECT_GT(ChatTemplate(source).render(many, true, {}).size(), 60000u);
}

TEST(TemplateLimits, LengthIsBounded) {
  EXPECT_NE(complaint("{{ 'a' * 5000000 }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{% for i in range(100) %}{{ 'a' * 100000 }}{% endfor %}").find("too long"),
            std::string::npos);
  EXPECT_NE(
      complaint(
          "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}")
          .find("too long"),
      std::string::npos);
  EXPECT_NE(complaint("{{ ('a' * 3000)|replace('a', 'b' * 3000) }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{{ ('a\n' * 1000)|indent(100000) }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{{ 'x'.center(100000000) }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{{ ['a' * 10000] * 1000 }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{{ ('a' * 1000).join(['b'] * 10000) }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{{ [1] * 100000000 }}"), "");
  EXPECT_NE(complaint("{{ ['a' * 1000000] * 100 | tojson }}"), "");
  EXPECT_NE(complaint("{{ (['a' * 1000000] * 100) | tojson }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{% set x = 'a' * 2000000 %}{{ x ~ x ~ x ~ x }}").find("too long"), std::string::npos);
  EXPECT_EQ(render("{{ ('a' * 4000000)|length }}"), "4000000");
}

TEST(TemplateLimits, DepthIsBounded) {
  EXPECT_NE(complaint("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("too deep"), std::string::npos);
  EXPECT_EQ(render("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}.{% endmacro %}{{ f(60)|length }}"),
            "61");
  EXPECT_NE(
      complaint("{% set ns = namespace(x=[]) %}{% for i in range(100) %}{% set ns.x = [ns.x] %}{% endfor %}")
          .find("too deep"),
      std::string::npos);
  EXPECT_NE(complaint("{% set ns = namespace(x={}) %}{% for i in range(100) %}{% set ns.x = {'a': "
                      "ns.x}.items %}{% endfor %}"),
            "");
  const std::string open(100000, '(');
  EXPECT_NE(complaint("{{ " + open + "1" + std::string(100000, ')') + " }}").find("too deep"),
            std::string::npos);
  std::string chain = "{{ 1";
  for (int i = 0; i < 100000; ++i) chain += "+1";
  EXPECT_NE(complaint(chain + " }}").find("too long"), std::string::npos);
  std::string dots = "{{ a";
  for (int i = 0; i < 100000; ++i) dots += ".a";
  EXPECT_NE(complaint(dots + " }}").find("too long"), std::string::npos);
  std::string blocks;
  for (int i = 0; i < 100000; ++i) blocks += "{% if 1 %}";
  EXPECT_NE(complaint(blocks).find("too deep"), std::string::npos);
  Json deep = 1;
  for (int i = 0; i < 100; ++i) deep = Json::array({deep});
  EXPECT_NE(complaint("{{ x }}", {{"x", deep}}).find("too deep"), std::string::npos);
}

// Circles through namespaces and macros must be taken apart; the sanitizer build would report what is left.
TEST(TemplateLimits, CirclesAreFreed) {
  EXPECT_EQ(render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{% set a.l = [a] "
                   "%}{{ a.b.a.l|length }}"),
            "1");
  EXPECT_EQ(render("{% set n = namespace() %}{% macro f() %}x{% endmacro %}{% set n.f = f %}{{ n.f() }}"),
            "x");
  EXPECT_EQ(render("{% set ns = namespace(p=none) %}{% for i in range(20000) %}{% set ns.p = "
                   "namespace(p=ns.p) %}{% endfor %}ok"),
            "ok");
}

TEST(TemplateLimits, ErrorsNameTheLine) {
  EXPECT_NE(complaint("a\nb\n{{ missing.x }}").find("line 3: 'missing' is undefined"), std::string::npos);
  EXPECT_NE(complaint("{% if true %}\n\n{{ 1 +\n }}{% endif %}").find("line 4"), std::string::npos);
  EXPECT_NE(
      complaint("{{ 'a\nb' }}\n{{ raise_exception('Roles must\nalternate') }}").find("line 3: Roles must"),
      std::string::npos);
  EXPECT_NE(complaint("x\n{{ 5|nope }}").find("line 2: the filter nope is not supported"), std::string::npos);
}

TEST(TemplateLimits, NothingButVariablesIsReached) {
  for (const char* source :
       {"{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ range.__globals__['os'] }}",
        "{{ messages.__init__.__globals__ }}", "{{ raise_exception.__closure__[0] }}",
        "{{ '{0.__class__}'.format(1) }}", "{{ namespace(__class__=1) }}", "{% include '/etc/passwd' %}",
        "{{ self._TemplateReference__context }}", "{{ lipsum.__globals__ }}", "{{ open('/etc/passwd') }}"}) {
    const std::string error = complaint(source);
    if (error.empty()) {
      EXPECT_EQ(render(source), "") << source;
    }
  }
}

TEST(TemplateLimits, TheDateIsToday) {
  const std::time_t before = std::time(nullptr);
  const std::string text = render("{{ strftime_now('%Y-%m-%d %H:%M') }}");
  const std::time_t after = std::time(nullptr);
  char low[32], high[32];
  std::tm parts{};
  std::strftime(low, sizeof low, "%Y-%m-%d %H:%M", localtime_r(&before, &parts));
  std::strftime(high, sizeof high, "%Y-%m-%d %H:%M", localtime_r(&after, &parts));
  EXPECT_TRUE(text == low || text == high) << text;
}

// Sources put together at random from what templates are made of: an error or a text, nothing else, and soon.
TEST(TemplateLimits, RandomSourcesNeverCrash) {
  std::mt19937_64 random(test::fresh_seed());
  const std::vector<std::string> parts = {
      "{{",          "}}",     "{%",        "%}",      "{#",         "#}",       "{%-",       "-%}",
      "{{-",         "-}}",    " if ",      " else ",  " elif ",     " endif ",  " for ",     " in ",
      " endfor ",    " set ",  " endset ",  " macro ", " endmacro ", " call ",   " endcall ", " filter ",
      " endfilter ", " with ", " endwith ", " raw ",   " endraw ",   " is ",     " not ",     " and ",
      " or ",        "a",      "x",         "f",       "loop",       "messages", "namespace", "range",
      "(",           ")",      "[",         "]",       "{",          "}",        ",",         ":",
      ".",           "|",      "~",         "+",       "-",          "*",        "**",        "/",
      "//",          "%",      "==",        "<",       "=",          "1",        "2.5",       "99999999999",
      "'s'",         "\"é\"",  "'",         "\\",      "\n",         " ",        "upper",     "join",
      "list",        "length", "tojson",    "items",   "map",        "select",   "defined",   "none",
      "true",        "sort",   "first",     "default", "break",      "continue", "caller",    "🙂",
      "\xff"};
  const std::vector<std::string> frames = {"{{ @ }}",
                                           "{% if @ %}y{% endif %}",
                                           "{% for x in @ %}{{ x }}{% endfor %}",
                                           "{% set x = @ %}{{ x }}",
                                           "@",
                                           "{% macro f(a) %}@{% endmacro %}{{ f(1) }}"};
  int rendered = 0;
  const auto begin = std::chrono::steady_clock::now();
  // Most of them are refused, and with AddressSanitizer a refusal takes milliseconds.
  const int sources = test::kSanitized ? 2000 : 20000;
  for (int i = 0; i < sources; ++i) {
    std::string middle;
    for (std::size_t k = 1 + random() % 9; k-- > 0;)
      middle += parts[random() % parts.size()] + (random() % 3 == 0 ? " " : "");
    std::string source = frames[random() % frames.size()];
    source.replace(source.find('@'), 1, middle);
    try {
      render(source, {{"a", {1, "b", nullptr}}, {"x", {{"k", 1.5}}}, {"f", 7}});
      ++rendered;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ExitCode::kBadInput) << source << "\n" << error.render();
    }
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(rendered, sources / 40);
  EXPECT_LT(elapsed.count(), test::kSanitized ? 60.0 : 10.0);
}

}  // namespace
}  // namespace rlcpp::tokenizer
