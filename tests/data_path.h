// Where tests/data lies: programs that were built on another machine find it too.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace rlcpp::test {

// tests/data/<relative>. The folder is $RLCPP_TEST_DATA if that is set, else the one of the build, else
// tests/data below the working directory, if it is there.
inline std::string data_path(const std::string& relative) {
  static const std::string folder = [] {
    const char* named = std::getenv("RLCPP_TEST_DATA");
    if (named != nullptr && *named != '\0') return std::string(named);
    std::error_code ignored;
    const bool moved = !std::filesystem::is_directory(RLCPP_TEST_DATA, ignored) &&
                       std::filesystem::is_directory("tests/data", ignored);
    return std::string(moved ? "tests/data" : RLCPP_TEST_DATA);
  }();
  return folder + "/" + relative;
}

}  // namespace rlcpp::test
