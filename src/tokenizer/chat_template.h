// Chat templates: an interpreter for the part of Jinja2 that HF chat templates use, equal to Jinja2 3.1 with
// trim_blocks and lstrip_blocks. Bounded: fuel (500,000 operations), output (4 MiB), depth 64; no attributes,
// no code.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace rlcpp::tokenizer {

class ChatTemplate {
 public:
  // Throws bad_input with line and what is not supported.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // messages: [{"role", "content", "tool_calls"?, ...}]; variables: further names (tools, enable_thinking,
  // bos_token, ...).
  std::string render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                     const nlohmann::ordered_json& variables) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rlcpp::tokenizer
