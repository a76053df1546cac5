#include <fmt/format.h>

#include "tokenizer/jinja/interpreter.h"

namespace rlcpp::tokenizer::jinja {

Value Interpreter::evaluate_name(const std::string& name, const ScopePtr& scope) {
  if (const Value* found = scope->find(name)) return *found;
  const Value global = find_global(name);
  return global.is_none() ? Value::undefined(fmt::format("'{}' is undefined", name)) : global;
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments, const ScopePtr& scope) {
  Arguments out;
  for (const ExpressionPtr& value : arguments.positional) out.positional.push_back(evaluate(*value, scope));
  if (arguments.rest != nullptr) {
    for (Value& value : iterate(runtime_, evaluate(*arguments.rest, scope)))
      out.positional.push_back(std::move(value));
  }
  for (const auto& [name, value] : arguments.named) out.named.emplace_back(name, evaluate(*value, scope));
  if (arguments.more != nullptr) {
    const Value more = evaluate(*arguments.more, scope);
    if (!more.is(Kind::kDict)) runtime_.fail("** needs a dict");
    for (const auto& [name, value] : more.as_dict().entries) {
      if (!name.is_string()) runtime_.fail("** needs names as keys");
      out.named.emplace_back(name.as_string(), value);
    }
  }
  return out;
}

Value Interpreter::evaluate_comparison(const Comparison& node, const ScopePtr& scope) {
  Value left = evaluate(*node.first, scope);
  for (const auto& [op, operand] : node.rest) {
    Value right = evaluate(*operand, scope);
    bool holds = false;
    if (op == "==") {
      holds = equal(left, right);
    } else if (op == "!=") {
      holds = !equal(left, right);
    } else if (op == "<") {
      holds = less(runtime_, left, right);
    } else if (op == ">") {
      holds = less(runtime_, right, left);
    } else if (op == "<=") {
      holds = less(runtime_, left, right) || equal(left, right);
    } else if (op == ">=") {
      holds = less(runtime_, right, left) || equal(left, right);
    } else {
      holds = contains(runtime_, right, left) == (op == "in");
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate(const Expression& expression, const ScopePtr& scope, const Value* block) {
  runtime_.spend();
  const Runtime::ExpressionDepth depth(runtime_);
  const auto& node = expression.node;
  const auto here = [&] { runtime_.line = expression.line; };
  const auto optional = [&](const ExpressionPtr& part) {
    return part == nullptr ? Value() : evaluate(*part, scope);
  };
  here();
  if (const auto* literal = std::get_if<Literal>(&node)) return literal->value;
  if (const auto* name = std::get_if<Name>(&node)) return evaluate_name(name->name, scope);
  if (const auto* list = std::get_if<ListLiteral>(&node)) {
    Values items;
    for (const ExpressionPtr& item : list->items) items.push_back(evaluate(*item, scope));
    return list->tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  if (const auto* dict = std::get_if<DictLiteral>(&node)) {
    auto out = std::make_shared<Dict>();
    for (const auto& [key, value] : dict->entries) {
      const Value name_value = evaluate(*key, scope);
      require_hashable(runtime_, name_value);
      out->set(name_value, evaluate(*value, scope));
    }
    return out;
  }
  if (const auto* unary = std::get_if<Unary>(&node)) {
    const Value operand = evaluate(*unary->operand, scope);
    here();
    if (unary->op == '!') return !truth(operand);
    if (unary->op == '-') return negate(runtime_, operand);
    return arithmetic(runtime_, "+", 0, operand);
  }
  if (const auto* binary = std::get_if<Binary>(&node)) {
    const Value left = evaluate(*binary->left, scope);
    const Value right = evaluate(*binary->right, scope);
    here();
    return arithmetic(runtime_, binary->op, left, right);
  }
  if (const auto* logical = std::get_if<Logical>(&node)) {
    Value left = evaluate(*logical->left, scope);
    return truth(left) == logical->is_and ? evaluate(*logical->right, scope) : left;
  }
  if (const auto* concat = std::get_if<Concat>(&node)) {
    std::string out;
    for (const ExpressionPtr& part : concat->parts) {
      const std::size_t before = out.size();
      out += to_text(runtime_, evaluate(*part, scope));
      runtime_.spend_growth(before, out.size());
    }
    return out;
  }
  if (const auto* comparison = std::get_if<Comparison>(&node)) return evaluate_comparison(*comparison, scope);
  if (const auto* conditional = std::get_if<Conditional>(&node)) {
    if (truth(evaluate(*conditional->test, scope))) return evaluate(*conditional->yes, scope);
    if (conditional->no != nullptr) return evaluate(*conditional->no, scope);
    return Value::undefined("the inline if-expression is false and has no else");
  }
  if (const auto* access = std::get_if<Attribute>(&node)) {
    const Value object = evaluate(*access->object, scope);
    here();
    return attribute(runtime_, object, access->name);
  }
  if (const auto* item = std::get_if<Subscript>(&node)) {
    const Value object = evaluate(*item->object, scope);
    const Value index = evaluate(*item->index, scope);
    here();
    return subscript(runtime_, object, index);
  }
  if (const auto* part = std::get_if<Slice>(&node)) {
    const Value object = evaluate(*part->object, scope);
    const Value begin = optional(part->begin);
    const Value end = optional(part->end);
    const Value step = optional(part->step);
    here();
    return slice(runtime_, object, begin, end, step);
  }
  if (const auto* invocation = std::get_if<Call>(&node)) {
    const Value callee = evaluate(*invocation->callee, scope);
    Arguments arguments = evaluate_arguments(invocation->arguments, scope);
    here();
    return call(runtime_, callee, arguments);
  }
  if (const auto* filter = std::get_if<FilterCall>(&node)) {
    const Value operand = filter->operand == nullptr ? *block : evaluate(*filter->operand, scope, block);
    Arguments arguments = evaluate_arguments(filter->arguments, scope);
    here();
    return filter->function(runtime_, operand, arguments);
  }
  const auto& test = std::get<TestCall>(node);
  const Value operand = evaluate(*test.operand, scope);
  Arguments arguments = evaluate_arguments(test.arguments, scope);
  here();
  return test.function(runtime_, operand, arguments);
}

}  // namespace rlcpp::tokenizer::jinja
