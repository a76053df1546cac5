#include "tokenizer/chat_template.h"

#include <nlohmann/json.hpp>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/parser.h"

namespace rlcpp::tokenizer {

struct ChatTemplate::State {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(const std::string& source)
    : state_(std::make_unique<State>(State{jinja::parse(source)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                                 const nlohmann::ordered_json& variables) const {
  std::vector<std::pair<std::string, jinja::Value>> names;
  names.emplace_back("messages", jinja::from_json(messages));
  names.emplace_back("add_generation_prompt", jinja::Value(add_generation_prompt));
  // transformers passes these two to every template, as None when the caller has none.
  for (const char* name : {"tools", "documents"}) {
    if (!variables.is_object() || !variables.contains(name)) names.emplace_back(name, jinja::Value());
  }
  if (variables.is_object()) {
    for (const auto& [name, value] : variables.items()) names.emplace_back(name, jinja::from_json(value));
  }
  jinja::Runtime runtime;
  return jinja::Interpreter(runtime).render(state_->body, std::move(names));
}

}  // namespace rlcpp::tokenizer
