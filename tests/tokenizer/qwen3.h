// The genuine Qwen3 tokenizer, unpacked once a test program.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "data_path.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::test {

inline std::string unpack_xz(const std::string& path) {
  std::FILE* pipe = popen(("xz -dc '" + path + "'").c_str(), "r");
  if (pipe == nullptr) return {};
  std::string content;
  char buffer[1 << 16];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) content.append(buffer, got);
  const int status = pclose(pipe);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "xz -dc " << path << " failed: install xz-utils";
  return content;
}

inline const tokenizer::Tokenizer& qwen3() {
  static const tokenizer::Tokenizer loaded = tokenizer::Tokenizer::from_json(
      unpack_xz(test::data_path("tokenizer/qwen3/tokenizer.json.xz")), "qwen3/tokenizer.json");
  return loaded;
}

}  // namespace rlcpp::test
