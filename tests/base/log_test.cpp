#include "base/log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "support.h"

namespace rlcpp::test {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Random bytes, with the parts of multi-byte characters and control sequences often.
std::string random_bytes(Rng& rng) {
  static const std::vector<std::string> kPieces = {"abc",
                                                   "\x1b[2J",
                                                   "\n",
                                                   "\r\n",
                                                   "\t",
                                                   "\x7f",
                                                   "\"",
                                                   "\\",
                                                   "é",
                                                   "日",
                                                   "😀",
                                                   "\xc2\x9b[31m",
                                                   "\xed\xa0\x80",
                                                   "\xc0\x80",
                                                   "\xff",
                                                   "\xe2\x80",
                                                   "\xe2\x80\xae",
                                                   "\xf5\x80\x80\x80"};
  std::string out;
  for (std::uint64_t n = rng.below(10); n > 0; --n) {
    if (rng.below(2) == 0) {
      out += static_cast<char>(rng.below(256));
    } else {
      out += kPieces[rng.below(kPieces.size())];
    }
  }
  return out;
}

TEST(Utf8, ValidityAgreesWithAnotherDecoder) {
  Rng rng(fresh_seed());
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_bytes(rng);
    bool valid = true;
    try {
      (void)nlohmann::json(text).dump();  // throws on invalid UTF-8
    } catch (const nlohmann::json::exception&) {
      valid = false;
    }
    ASSERT_EQ(utf8::is_valid(text), valid)
        << nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  }
}

TEST(Log, PrintableKeepsTextAndEscapesTheRest) {
  EXPECT_EQ(printable("plain\ttext, é 日本 😀"), "plain\ttext, é 日本 😀");
  EXPECT_EQ(printable("a\x1b[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(printable("a\nb\rc"), "a\\nb\\rc");
  EXPECT_EQ(printable("\xc2\x9b"), "\\x9b");          // the one-character control sequence introducer
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\u{202e}");  // right-to-left override
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Log, PrintableIsAlwaysSafe) {
  Rng rng(fresh_seed() + 1);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = printable(random_bytes(rng));
    ASSERT_TRUE(utf8::is_valid(text));
    for (std::size_t at = 0; at < text.size();) {
      const utf8::Codepoint c = utf8::decode(text, at);
      ASSERT_TRUE(c.value == '\t' || (c.value >= 0x20 && c.value < 0x7f) || c.value >= 0xa0);
      at += c.length;
    }
  }
}

TEST(Log, JsonLinesAreValidAndKeepValidText) {
  Rng rng(fresh_seed() + 2);
  TemporaryDirectory dir;
  std::vector<std::string> messages;
  {
    LogOptions options;
    options.format = LogFormat::kJson;
    options.stream = std::fopen((dir / "stderr").c_str(), "w");
    options.file = dir / "run.log";
    Logger log(options);
    for (int i = 0; i < 1000; ++i) {
      messages.push_back(random_bytes(rng));
      log.info(messages.back());
    }
    std::fclose(options.stream);
  }
  const auto lines = lines_of(dir / "run.log");
  EXPECT_EQ(lines, lines_of(dir / "stderr"));
  ASSERT_EQ(lines.size(), messages.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto line = nlohmann::json::parse(lines[i]);
    EXPECT_EQ(line.at("level"), "info");
    EXPECT_TRUE(std::regex_match(line.at("time").get<std::string>(),
                                 std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)")));
    if (utf8::is_valid(messages[i])) {
      EXPECT_EQ(line.at("message"), messages[i]);
    }
  }
}

TEST(Log, TextLinesLevelsAndColour) {
  TemporaryDirectory dir;
  LogOptions options;
  options.level = LogLevel::kInfo;
  options.colour = true;
  options.stream = std::fopen((dir / "stderr").c_str(), "w");
  {
    Logger log(options);
    log.info("before the file");
    log.open_file(dir / "run.log");
    EXPECT_EQ(log.options().file, dir / "run.log");
    log.trace("hidden");
    log.debug("hidden");
    log.info("one");
    log.success("two");
    log.warn("three");
    log.error("four\nlines \x1b[2J");
  }
  std::fclose(options.stream);
  const auto plain = lines_of(dir / "run.log");
  ASSERT_EQ(plain.size(), 4U);
  const std::vector<std::string> wanted = {"INFO    one", "SUCCESS two", "WARN    three",
                                           "ERROR   four\\nlines \\x1b[2J"};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_TRUE(std::regex_match(plain[i].substr(0, 9), std::regex(R"(\d\d:\d\d:\d\d )"))) << plain[i];
    EXPECT_EQ(plain[i].substr(9), wanted[i]);
  }
  const auto coloured = lines_of(dir / "stderr");
  ASSERT_EQ(coloured.size(), 5U);
  EXPECT_NE(coloured[2].find("\x1b[32mSUCCESS\x1b[0m two"), std::string::npos) << coloured[2];
}

TEST(Log, ThreadsDoNotMixLines) {
  TemporaryDirectory dir;
  LogOptions options;
  options.stream = std::fopen((dir / "stderr").c_str(), "w");
  options.file = dir / "run.log";
  {
    Logger log(options);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&log, t] {
        for (int i = 0; i < 200; ++i) log.info(std::string(50, static_cast<char>('a' + t)));
      });
    }
    for (auto& thread : threads) thread.join();
  }
  std::fclose(options.stream);
  const auto lines = lines_of(dir / "run.log");
  ASSERT_EQ(lines.size(), 800U);
  for (const std::string& line : lines) EXPECT_EQ(line.substr(17), std::string(50, line[17]));
}

TEST(Log, AFileThatCannotBeOpened) {
  TemporaryDirectory dir;
  LogOptions options;
  options.file = dir / "no/such/run.log";
  try {
    Logger log(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(error.render().find("no/such/run.log"), std::string::npos);
  }
}

}  // namespace
}  // namespace rlcpp::test
