// A conversation with a model in this process: template, engine, and the text as it is made.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "rollout/engine.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::app {

// Bytes of tokens → text that may be shown: a character is held back until its last byte is there, broken
// UTF-8 becomes U+FFFD, control characters but line feed and tab are left out, so that a model cannot drive
// the terminal.
class TextStream {
 public:
  std::string feed(std::string_view bytes);
  std::string finish();  // what was held back

 private:
  std::string held_;
};

struct ChatReply {
  std::string text;                // without special tokens
  std::vector<std::int32_t> ids;   // with the token that ended it
  std::int64_t prompt_tokens = 0;  // of the whole conversation so far
  std::int64_t cached_tokens = 0;  // of those, not computed again
  std::string finish;              // "stop" or "length"
  double seconds = 0;
};

struct ChatOptions {
  std::string system;                                                   // empty: what the template says
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();  // of the template
  std::int64_t max_tokens = 512;
  std::int64_t max_model_len = 0;  // prompt and reply
  ops::SamplingParams sampling;
  std::uint64_t seed = 0;
  std::vector<std::int32_t> stop_ids;
  std::string adapter;  // of the engine; empty: none
};

class ChatSession {
 public:
  // Engine and tokenizer outlive it. Without a chat template turns are plain text, one after the other.
  // Throws bad_input if the template cannot be read.
  ChatSession(rollout::Engine& engine, const tokenizer::Tokenizer& tokenizer,
              const std::string& template_source, ChatOptions options);

  bool has_template() const { return template_ != nullptr; }
  // Says `text` and returns the answer; `show` (may be empty) gets its text in pieces. Throws bad_input if
  // the conversation leaves no room for an answer; it is then as it was before.
  ChatReply say(const std::string& text, const std::function<void(std::string_view)>& show);
  void reset();  // forgets all but the system message

 private:
  std::vector<std::int32_t> prompt_ids() const;

  rollout::Engine& engine_;
  const tokenizer::Tokenizer& tokenizer_;
  std::unique_ptr<tokenizer::ChatTemplate> template_;
  ChatOptions options_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
  std::string plain_;  // without a template
  std::int64_t turn_ = 0;
};

}  // namespace rlcpp::app
