#include "tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "data_path.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

std::string qwen3_template() {
  return Json::parse(
      durable::read_file(test::data_path("tokenizer/qwen3/tokenizer_config.json")))["chat_template"];
}

TEST(ChatTemplate, Qwen3RendersASimpleTurn) {
  const ChatTemplate chat(qwen3_template());
  const Json messages =
      Json::parse(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])");
  EXPECT_EQ(
      chat.render(messages, true, {}),
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(chat.render(messages, true, {{"enable_thinking", false}}),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
            "<think>\n\n</think>\n\n");
}

}  // namespace
}  // namespace rlcpp::tokenizer
