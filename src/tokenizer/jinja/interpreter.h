// Runs a syntax tree.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/runtime.h"

namespace rlcpp::tokenizer::jinja {

// Names visible in one stretch of the template. A loop iteration, a macro call, {% with %}, block sets and
// filters open one; {% if %} does not. Assignments go to the innermost.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;

  const Value* find(const std::string& name) const;
  void set(const std::string& name, Value value);
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter {
 public:
  explicit Interpreter(Runtime& runtime) : runtime_(runtime) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // `variables` are what the caller of the template passes in.
  std::string render(const Body& body, std::vector<std::pair<std::string, Value>> variables);

 private:
  enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

  // Statements (interpreter.cpp).
  Flow run(const Body& body, const ScopePtr& scope, std::string& out);
  Flow run(const Statement& statement, const ScopePtr& scope, std::string& out);
  Flow run_if(const If& node, const ScopePtr& scope, std::string& out);
  Flow run_for(const For& node, const ScopePtr& scope, std::string& out);
  void write(std::string_view text, std::string& out);
  void assign(const Target& target, const Value& value, const ScopePtr& scope);
  // The text of a body with a scope of its own.
  std::string captured(const Body& body, const ScopePtr& scope);
  Value make_macro(std::shared_ptr<const MacroDefinition> definition, const ScopePtr& scope);
  Value call_macro(const MacroDefinition& macro, const ScopePtr& scope, Arguments& arguments);

  // Expressions (interpreter_expressions.cpp). `block` is the text that a filter block works on.
  Value evaluate(const Expression& expression, const ScopePtr& scope, const Value* block = nullptr);
  Value evaluate_name(const std::string& name, const ScopePtr& scope);
  Value evaluate_comparison(const Comparison& node, const ScopePtr& scope);
  Arguments evaluate_arguments(const CallArguments& arguments, const ScopePtr& scope);

  Runtime& runtime_;
  std::vector<std::weak_ptr<Scope>> closures_;  // scopes that macros refer back to: emptied at the end
};

}  // namespace rlcpp::tokenizer::jinja
