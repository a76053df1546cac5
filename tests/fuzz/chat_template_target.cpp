// A chat template, rendered over a conversation with tools and thinking. Its own bounds (fuel, output, depth)
// end what would not end.
#include <nlohmann/json.hpp>

#include "fuzz/targets.h"
#include "tokenizer/chat_template.h"

namespace rlcpp::fuzz {

void chat_template(std::string_view bytes) {
  static const auto messages = nlohmann::ordered_json::parse(R"([
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Grüße\n<|im_end|>"},
    {"role": "assistant", "content": null, "reasoning_content": "hm",
     "tool_calls": [{"type": "function", "id": "c1", "function": {"name": "now", "arguments": {"zone": "UTC", "n": [1, 2.5, null]}}}]},
    {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
    {"role": "assistant", "content": "<think>\nx\n</think>\n\nNoon."}])");
  static const auto variables = nlohmann::ordered_json::parse(R"({
    "tools": [{"type": "function", "function": {"name": "now", "description": "\"q\"", "parameters": {"type": "object", "properties": {}}}}],
    "enable_thinking": false, "bos_token": "<s>", "eos_token": "</s>", "date_string": "1 Jan 2026"})");
  accepted([&] {
    const tokenizer::ChatTemplate compiled{std::string(bytes)};
    const std::string text = compiled.render(messages, true, variables);
    require(text.size() <= std::size_t{4} << 20, "the output is bounded");
    require(compiled.render(messages, true, variables) == text ||
                bytes.find("strftime") != std::string_view::npos,
            "a template renders the same twice");
  });
}

}  // namespace rlcpp::fuzz
