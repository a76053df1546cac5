#include "data/dataset.h"

#include <fstream>

#include "base/error.h"
#include "support.h"

namespace rlcpp::data {
namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// The message of the refusal; "" if the row is accepted.
std::string refusal(const std::string& line) {
  try {
    parse_row(line, "train.jsonl:7");
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    return std::string(e.what()) + " | " + e.because();
  }
}

void expect_refused(const std::string& line, const std::vector<std::string>& parts) {
  const std::string text = refusal(line);
  EXPECT_EQ(text.rfind("train.jsonl:7: ", 0), 0U) << line << "\n" << text;
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << line << "\n" << text;
}

TEST(ParseRow, RefusesWithPlaceAndCause) {
  expect_refused("{\"messages\": [", {"malformed JSON", "column"});
  expect_refused("[1, 2]", {"JSON object", "array"});
  expect_refused("{}", {"neither column", "empty"});
  expect_refused("{\"text\": \"x\", \"prompt\": \"y\"}", {"\"completion\"", "it has: text, prompt"});
  expect_refused("{\"messages\": \"hello\"}", {"column \"messages\"", "string"});
  expect_refused("{\"messages\": []}", {"empty list"});
  expect_refused("{\"messages\": [3]}", {"messages[0]", "number"});
  expect_refused("{\"messages\": [{\"content\": \"x\"}]}", {"messages[0]", "no role"});
  expect_refused("{\"messages\": [{\"role\": \"bot\", \"content\": \"x\"}]}", {"\"bot\""});
  expect_refused("{\"messages\": [{\"role\": \"user\"}]}", {"no content"});
  expect_refused("{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", {"messages[0].content", "number"});
  expect_refused(
      "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]}",
      {"image_url", "not supported"});
  expect_refused("{\"prompt\": 3, \"completion\": \"x\"}", {"\"prompt\"", "text or a list"});
  expect_refused("{\"prompt\": \"a\", \"completion\": \"b\", \"tools\": \"{\"}", {"tools", "not JSON"});
  expect_refused("{\"prompt\": \"a\", \"completion\": \"b\", \"tools\": [1]}", {"tools"});
  expect_refused("{\"prompt\": \"a\", \"completion\": \"b\", \"chat_template_kwargs\": []}",
                 {"chat_template_kwargs"});
  expect_refused(
      "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\", "
      "\"arguments\": \"{x\"}}]}]}",
      {"tool_calls", "not JSON"});
  EXPECT_EQ(refusal("{\"prompt\": \"a\", \"completion\": \"b\"}"), "");
}

TEST(ParseRow, MessagesArePreferredAndContentsStripped) {
  const auto c = parse_row(
      R"({"prompt": "no", "completion": "no", "messages": [{"role": "user", "content": "\n hi\u00a0\u2003"},
          {"role": "assistant", "content": [{"type": "text", "text": " a"}, {"type": "text", "text": "b "}], "name": null}]})",
      "x:1");
  ASSERT_EQ(c.messages.size(), 2U);
  EXPECT_FALSE(c.plain);
  EXPECT_EQ(c.messages[0]["content"], "hi");
  EXPECT_EQ(c.messages[1]["content"], "ab");
  EXPECT_FALSE(c.messages[1].contains("name"));
}

TEST(ParseRow, PromptAndCompletionAsTextOrMessages) {
  const auto text = parse_row(R"({"prompt": " p ", "completion": "c"})", "x:1");
  EXPECT_TRUE(text.plain);
  EXPECT_EQ(text.messages.dump(), R"([{"role":"user","content":"p"},{"role":"assistant","content":"c"}])");
  const auto mixed = parse_row(
      R"({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "completion": "c"})",
      "x:1");
  EXPECT_FALSE(mixed.plain);
  ASSERT_EQ(mixed.messages.size(), 3U);
  EXPECT_EQ(mixed.messages[2]["role"], "assistant");
}

TEST(ParseRow, ToolsOfBothFormsAndDecodedArguments) {
  const auto c = parse_row(
      R"({"tool_defs": "[{\"name\": \"f\", \"description\": \"d\", \"parameters\": {\"type\": \"object\"}}]",
          "chat_template_kwargs": {"enable_thinking": false, "x": null},
          "messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}}]},
                       {"role": "tool", "content": "4", "tool_calls": []}]})",
      "x:1");
  EXPECT_EQ(
      c.variables["tools"].dump(),
      R"([{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}])");
  EXPECT_EQ(c.variables["enable_thinking"], false);
  EXPECT_FALSE(c.variables.contains("x"));
  EXPECT_EQ(c.messages[0]["tool_calls"][0]["function"]["arguments"].dump(), R"({"b":1,"a":2})");
  EXPECT_EQ(c.messages[0]["content"], "");
  EXPECT_FALSE(c.messages[1].contains("tool_calls"));
}

TEST(Strip, EqualsPythons) {
  EXPECT_EQ(strip("  \t\n a b \r\n"), "a b");
  EXPECT_EQ(strip("\xe3\x80\x80x\xe2\x80\xa8"), "x");  // ideographic space, line separator
  EXPECT_EQ(strip("\x1fx\xc2\x85"), "x");              // unit separator, next line
  EXPECT_EQ(strip("\xe2\x80\x8bx"), "\xe2\x80\x8bx");  // zero-width space is not white space
  EXPECT_EQ(strip("\xff\xfe"), "\xff\xfe");            // invalid UTF-8 stays
  EXPECT_EQ(strip(" \n"), "");
  EXPECT_EQ(strip(""), "");
}

TEST(Dataset, FilesDirectoriesAndEmptyLines) {
  const test::TemporaryDirectory dir;
  write(dir / "train.jsonl",
        "{\"prompt\": \"a\", \"completion\": \"1\"}\n\n  \r\n{\"prompt\": \"b\", \"completion\": \"2\"}");
  write(dir / "more.jsonl", "{\"prompt\": \"c\", \"completion\": \"3\"}\r\n");
  const auto file = Dataset::open(dir / "train.jsonl", {});
  ASSERT_EQ(file.size(), 2);
  EXPECT_EQ(file.place(1), (dir / "train.jsonl") + ":4");
  EXPECT_EQ(file.row(1).messages[0]["content"], "b");
  const auto both = Dataset::open(dir.path(), {"train", "more"});
  ASSERT_EQ(both.size(), 3);
  EXPECT_EQ(both.place(2), dir.path() + "/more.jsonl:1");
  EXPECT_EQ(both.row(2).messages[1]["content"], "3");
  EXPECT_NE(both.fingerprint(), file.fingerprint());
}

TEST(Dataset, RefusesWhatIsNotThere) {
  const test::TemporaryDirectory dir;
  write(dir / "test.jsonl", "\n \n");
  const auto why = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      return std::string(e.what()) + " | " + e.because();
    }
    return std::string("accepted");
  };
  EXPECT_NE(why([&] { Dataset::open(dir / "none", {"train"}); }).find("neither a file nor a directory"),
            std::string::npos);
  EXPECT_NE(why([&] { Dataset::open(dir.path(), {"train"}); }).find("there are: test"), std::string::npos);
  EXPECT_NE(why([&] { Dataset::open(dir.path(), {}); }).find("splits"), std::string::npos);
  EXPECT_NE(why([&] { Dataset::open(dir / "test.jsonl", {}); }).find("no rows"), std::string::npos);
}

TEST(Rows, NestedBeyondAllReasonAreRefused) {
  const auto nested = [](std::size_t depth) {
    return R"({"messages": [{"role": "user", "content": "[[[[\"[", "x": )" + std::string(depth, '[') +
           std::string(depth, ']') + "}, {\"role\": \"assistant\", \"content\": \"y\"}]}";
  };
  EXPECT_EQ(parse_row(nested(250), "r").messages.size(), 2U);
  for (const std::size_t depth : {std::size_t{254}, std::size_t{300000}}) {
    try {
      parse_row(nested(depth), "r");
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(error.what()).find("nested " + std::to_string(depth + 3)), std::string::npos)
          << error.what();
    }
  }
  // JSON inside of strings is read too.
  const std::string brackets = std::string(300000, '[') + std::string(300000, ']');
  const std::string call =
      R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ")" +
      brackets + R"("}}]}]})";
  EXPECT_THROW(parse_row(call, "r"), Error);
  EXPECT_THROW(parse_row(R"({"prompt": "p", "completion": "c", "tools": ")" + brackets + "\"}", "r"), Error);
}

}  // namespace
}  // namespace rlcpp::data
