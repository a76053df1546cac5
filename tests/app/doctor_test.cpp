// rlcpp doctor: what it finds is really there, and what cannot be used makes it leave with 3.
#include <gtest/gtest.h>

#include <map>

#include "app/world.h"

namespace rlcpp::test {
namespace {

struct Setting {  // of an environment variable, taken back at the end
  Setting(const char* variable, const std::string& value) : name(variable) {
    const char* old = getenv(name);
    if (old != nullptr) before = old;
    was_set = old != nullptr;
    setenv(name, value.c_str(), 1);
  }
  ~Setting() { was_set ? setenv(name, before.c_str(), 1) : unsetenv(name); }
  const char* name;
  std::string before;
  bool was_set = false;
};

std::map<std::string, nlohmann::json> checks_of(const std::string& text) {
  std::map<std::string, nlohmann::json> checks;
  const nlohmann::json said = nlohmann::json::parse(text);
  for (const auto& check : said.at("checks")) checks[check.at("name")] = check;
  return checks;
}

TEST(Doctor, SaysWhatIsHere) {
  const World world;
  std::filesystem::create_directory(world / "cache");
  const Setting cache("HF_HUB_CACHE", world / "cache");
  const ProcessOutcome said = world.run({"doctor", "--json"});
  ASSERT_EQ(said.code, 0) << said.out << said.err;
  const auto checks = checks_of(said.out);
  for (const char* name : {"processor", "memory", "system", "libcurl", "libzstd", "zlib", "MPI",
                           "model cache", "temporary", "hub"})
    EXPECT_TRUE(checks.contains(name)) << name;
  EXPECT_EQ(checks.at("memory").at("state"), "ok");
  EXPECT_NE(checks.at("system").at("found").get<std::string>().find("glibc 2."), std::string::npos);
  EXPECT_NE(checks.at("hub").at("found").get<std::string>().find("offline"), std::string::npos);
  EXPECT_NE(checks.at("model cache").at("found").get<std::string>().find(world / "cache"), std::string::npos);
  // A library that is said to be there is a file that is there, with a version.
  for (const char* name : {"libcurl", "libzstd", "zlib"}) {
    const auto& check = checks.at(name);
    const std::string found = check.at("found");
    if (check.at("state") == "ok") {
      EXPECT_TRUE(std::filesystem::exists(found.substr(found.find(", ") + 2))) << found;
      EXPECT_NE(found.find_first_of("0123456789"), std::string::npos) << found;
    } else {
      EXPECT_EQ(check.at("state"), "missing");
      EXPECT_TRUE(check.contains("help"));
    }
  }
  const ProcessOutcome table = world.run({"doctor"});
  EXPECT_EQ(table.code, 0);
  for (const auto& [name, check] : checks) EXPECT_NE(table.out.find(name), std::string::npos) << name;
  EXPECT_TRUE(table.err.empty()) << table.err;
}

TEST(Doctor, WhatCannotBeUsedIsAProblem) {
  const World world;
  const Setting cache("HF_HUB_CACHE", world.file("cache", "a file, where a folder must be") + "/hub");
  const ProcessOutcome said = world.run({"doctor", "--json"});
  EXPECT_EQ(said.code, 3) << said.out << said.err;
  EXPECT_EQ(checks_of(said.out).at("model cache").at("state"), "problem");
  EXPECT_EQ(nlohmann::json::parse(said.out).at("problems"), 1);
  const Setting temporary("TMPDIR", world / "absent");
  EXPECT_EQ(checks_of(world.run({"doctor", "--json"}).out).at("temporary").at("state"), "problem");
}

TEST(Doctor, TakesNoArguments) {
  const World world;
  const ProcessOutcome said = world.run({"doctor", "heal"});
  EXPECT_EQ(said.code, 2);
  expect_has(said.err, {"doctor takes no arguments", "heal"});
}

}  // namespace
}  // namespace rlcpp::test
