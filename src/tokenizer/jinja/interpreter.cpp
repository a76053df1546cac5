#include "tokenizer/jinja/interpreter.h"

#include <fmt/format.h>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/loop.h"

namespace rlcpp::tokenizer::jinja {

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    for (const auto& [key, value] : scope->names) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [key, old] : names) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

// A macro holds the scope it was defined in, and that scope holds the macro: the circle is cut here.
Interpreter::~Interpreter() {
  for (const auto& closure : closures_) {
    if (const ScopePtr scope = closure.lock()) scope->names.clear();
  }
}

std::string Interpreter::render(const Body& body, std::vector<std::pair<std::string, Value>> variables) {
  const ScopePtr context = std::make_shared<Scope>(Scope{nullptr, std::move(variables)});
  const ScopePtr root = std::make_shared<Scope>(Scope{context, {}});
  std::string out;
  run(body, root, out);
  return out;
}

void Interpreter::write(std::string_view text, std::string& out) {
  out += text;
  runtime_.spend_growth(out.size() - text.size(), out.size());
}

Interpreter::Flow Interpreter::run(const Body& body, const ScopePtr& scope, std::string& out) {
  for (const Statement& statement : body) {
    const Flow flow = run(statement, scope, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run(const Statement& statement, const ScopePtr& scope, std::string& out) {
  runtime_.spend();
  runtime_.line = statement.line;
  if (const auto* text = std::get_if<Text>(&statement.node)) {
    write(text->text, out);
  } else if (const auto* output = std::get_if<Output>(&statement.node)) {
    write(to_text(runtime_, evaluate(*output->value, scope)), out);
  } else if (const auto* branch = std::get_if<If>(&statement.node)) {
    return run_if(*branch, scope, out);
  } else if (const auto* loop = std::get_if<For>(&statement.node)) {
    return run_for(*loop, scope, out);
  } else if (const auto* set = std::get_if<Set>(&statement.node)) {
    assign(set->target, evaluate(*set->value, scope), scope);
  } else if (const auto* block = std::get_if<SetBlock>(&statement.node)) {
    Value value = captured(block->body, scope);
    if (block->filter != nullptr) value = evaluate(*block->filter, scope, &value);
    assign(block->target, value, scope);
  } else if (const auto* macro = std::get_if<Macro>(&statement.node)) {
    scope->set(macro->definition->name, make_macro(macro->definition, scope));
  } else if (const auto* call_block = std::get_if<CallBlock>(&statement.node)) {
    const Call& node = std::get<Call>(call_block->call->node);
    const Value callee = evaluate(*node.callee, scope);
    Arguments arguments = evaluate_arguments(node.arguments, scope);
    arguments.named.emplace_back("caller", make_macro(call_block->caller, scope));
    write(to_text(runtime_, call(runtime_, callee, arguments)), out);
  } else if (const auto* filter = std::get_if<FilterBlock>(&statement.node)) {
    const Value text_value = captured(filter->body, scope);
    write(to_text(runtime_, evaluate(*filter->filter, scope, &text_value)), out);
  } else if (const auto* with = std::get_if<With>(&statement.node)) {
    const ScopePtr inner = std::make_shared<Scope>(Scope{scope, {}});
    for (const auto& [target, value] : with->assignments) assign(target, evaluate(*value, scope), inner);
    return run(with->body, inner, out);
  } else if (const auto* scoped = std::get_if<Scoped>(&statement.node)) {
    return run(scoped->body, std::make_shared<Scope>(Scope{scope, {}}), out);
  } else if (std::holds_alternative<Break>(statement.node)) {
    return Flow::kBreak;
  } else {
    return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_if(const If& node, const ScopePtr& scope, std::string& out) {
  for (const auto& [test, body] : node.branches) {
    if (truth(evaluate(*test, scope))) return run(body, scope, out);
  }
  return run(node.otherwise, scope, out);
}

Interpreter::Flow Interpreter::run_for(const For& node, const ScopePtr& scope, std::string& out) {
  Values items = iterate(runtime_, evaluate(*node.items, scope));
  if (node.filter != nullptr) {
    Values kept;
    for (const Value& item : items) {
      const ScopePtr inner = std::make_shared<Scope>(Scope{scope, {}});
      assign(node.target, item, inner);
      if (truth(evaluate(*node.filter, inner))) kept.push_back(item);
    }
    items = std::move(kept);
  }
  if (items.empty()) return run(node.otherwise, std::make_shared<Scope>(Scope{scope, {}}), out);
  const auto loop = std::make_shared<Loop>();
  loop->items = std::make_shared<const Values>(std::move(items));
  for (loop->index0 = 0; loop->index0 < loop->items->size(); ++loop->index0) {
    runtime_.spend();
    const ScopePtr inner = std::make_shared<Scope>(Scope{scope, {}});
    inner->names.emplace_back("loop", loop);
    assign(node.target, (*loop->items)[loop->index0], inner);
    if (run(node.body, inner, out) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

void Interpreter::assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (!target.items.empty()) {
    const Values parts = iterate(runtime_, value);
    if (parts.size() != target.items.size()) {
      runtime_.fail(fmt::format("{} values are assigned to {} names", parts.size(), target.items.size()));
    }
    for (std::size_t i = 0; i < parts.size(); ++i) assign(target.items[i], parts[i], scope);
    return;
  }
  if (target.attribute.empty()) {
    scope->set(target.name, value);
    return;
  }
  const Value object = evaluate_name(target.name, scope);
  if (!object.is(Kind::kNamespace)) runtime_.fail("only attributes of a namespace can be assigned to");
  if (target.attribute.starts_with("_")) {
    runtime_.fail(
        fmt::format("the attribute {} of a namespace must not begin with an underscore", target.attribute));
  }
  for (auto& [name, old] : object.as_namespace().attributes) {
    if (name == target.attribute) {
      old = value;
      return;
    }
  }
  object.as_namespace().attributes.emplace_back(target.attribute, value);
}

std::string Interpreter::captured(const Body& body, const ScopePtr& scope) {
  std::string out;
  run(body, std::make_shared<Scope>(Scope{scope, {}}), out);
  return out;
}

Value Interpreter::make_macro(std::shared_ptr<const MacroDefinition> definition, const ScopePtr& scope) {
  closures_.push_back(scope);
  return make_callable(definition->name, [this, definition, scope](Runtime&, Arguments& arguments) {
    return call_macro(*definition, scope, arguments);
  });
}

Value Interpreter::call_macro(const MacroDefinition& macro, const ScopePtr& scope, Arguments& arguments) {
  const ScopePtr inner = std::make_shared<Scope>(Scope{scope, {}});
  const std::vector<std::string>& names = macro.parameters.names;
  const std::vector<ExpressionPtr>& defaults = macro.parameters.defaults;
  const int line = runtime_.line;
  if (arguments.positional.size() > names.size() && !macro.uses_varargs) {
    runtime_.fail(fmt::format("the macro {} takes at most {} arguments, not {}", macro.name, names.size(),
                              arguments.positional.size()));
  }
  auto others = std::make_shared<Dict>();
  Value caller = Value::undefined("no caller is defined");
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto named = arguments.named.begin();
    while (named != arguments.named.end() && named->first != names[i]) ++named;
    const bool by_name = named != arguments.named.end();
    if (i < arguments.positional.size()) {
      if (by_name)
        runtime_.fail(fmt::format("the macro {} is given its argument {} twice", macro.name, names[i]));
      inner->set(names[i], arguments.positional[i]);
    } else if (by_name) {
      inner->set(names[i], named->second);
      arguments.named.erase(named);
    } else if (i + defaults.size() >= names.size()) {
      inner->set(names[i], evaluate(*defaults[i + defaults.size() - names.size()], inner));
    } else {
      inner->set(names[i], Value::undefined(fmt::format("the parameter '{}' was not provided", names[i])));
    }
  }
  for (auto& [name, value] : arguments.named) {
    if (name == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs) {
      others->set(name, value);
    } else {
      runtime_.fail(fmt::format("the macro {} has no argument named {}", macro.name, name));
    }
  }
  if (macro.uses_caller) inner->set("caller", caller);
  if (macro.uses_kwargs) inner->set("kwargs", others);
  if (macro.uses_varargs) {
    Values rest;
    for (std::size_t i = names.size(); i < arguments.positional.size(); ++i)
      rest.push_back(arguments.positional[i]);
    inner->set("varargs", Value::tuple(std::move(rest)));
  }
  std::string out;
  run(macro.body, inner, out);
  runtime_.line = line;
  return out;
}

}  // namespace rlcpp::tokenizer::jinja
