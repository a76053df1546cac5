#include "base/json_problem.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace rlcpp {
namespace {

std::string wrong_with(const std::string& text) {
  try {
    const auto json = parse_json_or_throw(text);
    return std::to_string(json.at("count").get<int>());
  } catch (const std::exception& problem) {
    return json_problem(problem, text);
  }
}

TEST(JsonProblem, SaysWhereAndWhatWithoutTheLibrarysNames) {
  EXPECT_EQ(wrong_with(R"({"count": 3})"), "3");
  EXPECT_EQ(wrong_with(""), "it is empty");
  EXPECT_EQ(wrong_with(" \n"), "it is empty");
  EXPECT_EQ(wrong_with("{\n \"count\": 3"), "it ends too soon, in line 2 (after 13 bytes)");
  EXPECT_EQ(wrong_with("{\"count\": \"3"), "it ends too soon, in line 1 (after 12 bytes)");
  EXPECT_EQ(wrong_with("{\n \"count\": oops}\n"), "it stops being JSON at line 2, column 11 (byte 13)");
  EXPECT_EQ(wrong_with("{\"count\": 3}}"), "it stops being JSON at line 1, column 13 (byte 13)");
  EXPECT_EQ(wrong_with("{\"count\": \"\xff\"}"),
            "it stops being JSON at line 1, column 12 (byte 12); not all of it is UTF-8");
  EXPECT_EQ(wrong_with("{\"count\": 1e999}"), "a number is beyond what JSON's readers hold");
  EXPECT_EQ(wrong_with(std::string(300, '[')), "it is nested 300 levels deep, 256 are the limit");
  EXPECT_EQ(wrong_with("{}"), "it has no key 'count'");
  EXPECT_EQ(wrong_with("{\"count\": \"3\"}"), "a value has another type: it must be number, but is string");
  EXPECT_EQ(json_problem(std::invalid_argument("stoul")), "a number in it is none");
}

}  // namespace
}  // namespace rlcpp
