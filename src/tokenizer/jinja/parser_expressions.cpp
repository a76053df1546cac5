#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>

#include "tokenizer/jinja/parser_detail.h"

namespace rlcpp::tokenizer::jinja {

ExpressionPtr Parser::parse_conditional() {
  const Nesting nesting(*this);
  const int line = current().line;
  ExpressionPtr value = parse_or();
  int links = 0;
  while (skip_name("if")) {
    link(links);
    ExpressionPtr test = parse_or();
    ExpressionPtr no;
    if (skip_name("else")) no = parse_conditional();
    value = make(line, Conditional{std::move(test), std::move(value), std::move(no)});
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  const int line = current().line;
  ExpressionPtr left = parse_and();
  int links = 0;
  while (skip_name("or")) {
    link(links);
    left = make(line, Logical{false, std::move(left), parse_and()});
  }
  return left;
}

ExpressionPtr Parser::parse_and() {
  const int line = current().line;
  ExpressionPtr left = parse_not();
  int links = 0;
  while (skip_name("and")) {
    link(links);
    left = make(line, Logical{true, std::move(left), parse_not()});
  }
  return left;
}

ExpressionPtr Parser::parse_not() {
  const Nesting nesting(*this);
  const int line = current().line;
  if (skip_name("not")) return make(line, Unary{'!', parse_not()});
  return parse_comparison();
}

ExpressionPtr Parser::parse_comparison() {
  static constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  const int line = current().line;
  ExpressionPtr first = parse_sum();
  std::vector<std::pair<std::string, ExpressionPtr>> rest;
  while (true) {
    std::string op;
    for (const std::string_view known : kOperators) {
      if (is_operator(known)) op = known;
    }
    if (!op.empty()) {
      skip();
    } else if (skip_name("in")) {
      op = "in";
    } else if (is_name("not") && next().kind == TokenKind::kName && next().text == "in") {
      skip();
      skip();
      op = "not in";
    } else {
      break;
    }
    rest.emplace_back(op, parse_sum());
  }
  if (rest.empty()) return first;
  return make(line, Comparison{std::move(first), std::move(rest)});
}

ExpressionPtr Parser::parse_sum() {
  const int line = current().line;
  ExpressionPtr left = parse_concat();
  int links = 0;
  while (is_operator("+") || is_operator("-")) {
    link(links);
    std::string op = current().text;
    skip();
    left = make(line, Binary{std::move(op), std::move(left), parse_concat()});
  }
  return left;
}

ExpressionPtr Parser::parse_concat() {
  const int line = current().line;
  std::vector<ExpressionPtr> parts;
  parts.push_back(parse_product());
  while (skip_operator("~")) parts.push_back(parse_product());
  if (parts.size() == 1) return std::move(parts[0]);
  return make(line, Concat{std::move(parts)});
}

ExpressionPtr Parser::parse_product() {
  const int line = current().line;
  ExpressionPtr left = parse_power();
  int links = 0;
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    link(links);
    std::string op = current().text;
    skip();
    left = make(line, Binary{std::move(op), std::move(left), parse_power()});
  }
  return left;
}

// From left to right, as Jinja2 parses it (Python goes from right to left).
ExpressionPtr Parser::parse_power() {
  const int line = current().line;
  ExpressionPtr left = parse_unary();
  int links = 0;
  while (skip_operator("**")) {
    link(links);
    left = make(line, Binary{"**", std::move(left), parse_unary()});
  }
  return left;
}

ExpressionPtr Parser::parse_unary(bool with_filter) {
  const Nesting nesting(*this);
  const int line = current().line;
  ExpressionPtr node;
  if (is_operator("-") || is_operator("+")) {
    const char op = current().text[0];
    skip();
    node = make(line, Unary{op, parse_unary(false)});
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

ExpressionPtr Parser::parse_primary() {
  const Token token = current();
  switch (token.kind) {
    case TokenKind::kName: {
      skip();
      if (token.text == "true" || token.text == "True") return make(token.line, Literal{true});
      if (token.text == "false" || token.text == "False") return make(token.line, Literal{false});
      if (token.text == "none" || token.text == "None") return make(token.line, Literal{Value()});
      for (MacroDefinition* macro : macros_) {
        macro->uses_varargs = macro->uses_varargs || token.text == "varargs";
        macro->uses_kwargs = macro->uses_kwargs || token.text == "kwargs";
        macro->uses_caller = macro->uses_caller || token.text == "caller";
      }
      return make(token.line, Name{token.text});
    }
    case TokenKind::kString: {
      std::string text;
      while (current().kind == TokenKind::kString) {
        text += current().text;
        skip();
      }
      return make(token.line, Literal{Value(std::move(text))});
    }
    case TokenKind::kInteger: {
      skip();
      std::int64_t value = 0;
      const char letter = token.text.size() > 2 ? static_cast<char>(token.text[1] | 0x20) : '\0';
      const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      const char* begin = token.text.data() + (base == 10 ? 0 : 2);
      const char* end = token.text.data() + token.text.size();
      if (std::from_chars(begin, end, value, base).ec != std::errc()) {
        fail_at(token.line, fmt::format("the number {} does not fit 64 bits", token.text));
      }
      return make(token.line, Literal{Value(value)});
    }
    case TokenKind::kFloat: {
      skip();
      return make(token.line,
                  Literal{Value(std::strtod(token.text.c_str(), nullptr))});  // too large: infinite
    }
    case TokenKind::kOperator:
      if (skip_operator("(")) {
        ExpressionPtr node = parse_tuple(true, true);
        expect_operator(")");
        return node;
      }
      if (is_operator("[")) return parse_list();
      if (is_operator("{")) return parse_dict();
      break;
    default:
      break;
  }
  fail(fmt::format("unexpected {}", describe_current()));
}

ExpressionPtr Parser::parse_tuple(bool conditional, bool parentheses) {
  const int line = current().line;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) {
      if (!skip_operator(",")) break;
      is_tuple = true;
    }
    const bool at_end = current().kind == TokenKind::kBlockEnd || current().kind == TokenKind::kOutputEnd ||
                        is_operator(")") || (!conditional && is_name("recursive"));
    if (at_end) break;
    items.push_back(conditional ? parse_expression() : parse_or());
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (items.empty() && !parentheses)
    fail(fmt::format("an expression is expected, not {}", describe_current()));
  return make(line, ListLiteral{std::move(items), true});
}

ExpressionPtr Parser::parse_list() {
  const int line = current().line;
  expect_operator("[");
  std::vector<ExpressionPtr> items;
  while (!is_operator("]")) {
    if (!items.empty()) expect_operator(",");
    if (is_operator("]")) break;
    items.push_back(parse_expression());
  }
  expect_operator("]");
  return make(line, ListLiteral{std::move(items), false});
}

ExpressionPtr Parser::parse_dict() {
  const int line = current().line;
  expect_operator("{");
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
  while (!is_operator("}")) {
    if (!entries.empty()) expect_operator(",");
    if (is_operator("}")) break;
    ExpressionPtr key = parse_expression();
    expect_operator(":");
    entries.emplace_back(std::move(key), parse_expression());
  }
  expect_operator("}");
  return make(line, DictLiteral{std::move(entries)});
}

ExpressionPtr Parser::parse_postfix(ExpressionPtr node) {
  int links = 0;
  while (true) {
    link(links);
    if (is_operator(".") || is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (is_operator("(")) {
      const int line = current().line;
      node = make(line, Call{std::move(node), parse_arguments()});
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr node) {
  int links = 0;
  while (true) {
    link(links);
    if (is_operator("|")) {
      node = parse_filter(std::move(node));
    } else if (is_name("is")) {
      node = parse_test(std::move(node));
    } else if (is_operator("(")) {
      const int line = current().line;
      node = make(line, Call{std::move(node), parse_arguments()});
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  const int line = current().line;
  if (skip_operator(".")) {
    const Token token = current();
    if (token.kind == TokenKind::kName) {
      skip();
      return make(line, Attribute{std::move(object), token.text});
    }
    if (token.kind == TokenKind::kInteger) {
      ExpressionPtr index = parse_primary();
      return make(line, Subscript{std::move(object), std::move(index)});
    }
    fail(fmt::format("a name is expected behind '.', not {}", describe_current()));
  }
  expect_operator("[");
  std::vector<ExpressionPtr> indices;
  while (!is_operator("]")) {
    if (!indices.empty()) expect_operator(",");
    const int part_line = current().line;
    ExpressionPtr begin;
    if (!is_operator(":")) {
      begin = parse_expression();
      if (!is_operator(":")) {
        indices.push_back(std::move(begin));
        continue;
      }
    }
    expect_operator(":");
    ExpressionPtr end;
    ExpressionPtr step;
    const auto part_ends = [&] { return is_operator(":") || is_operator("]") || is_operator(","); };
    if (!part_ends()) end = parse_expression();
    if (skip_operator(":") && !part_ends()) step = parse_expression();
    if (!is_operator("]") || !indices.empty())
      fail_at(part_line, "slices of several dimensions are not supported");
    expect_operator("]");
    return make(line, Slice{std::move(object), std::move(begin), std::move(end), std::move(step)});
  }
  expect_operator("]");
  if (indices.size() == 1) return make(line, Subscript{std::move(object), std::move(indices[0])});
  ExpressionPtr key = make(line, ListLiteral{std::move(indices), true});
  return make(line, Subscript{std::move(object), std::move(key)});
}

CallArguments Parser::parse_arguments() {
  CallArguments arguments;
  expect_operator("(");
  bool first = true;
  while (!is_operator(")")) {
    if (!first) {
      expect_operator(",");
      if (is_operator(")")) break;
    }
    first = false;
    if (skip_operator("*")) {
      if (arguments.rest != nullptr || arguments.more != nullptr) fail("invalid syntax for a call");
      arguments.rest = parse_expression();
    } else if (skip_operator("**")) {
      if (arguments.more != nullptr) fail("invalid syntax for a call");
      arguments.more = parse_expression();
    } else if (current().kind == TokenKind::kName && next().kind == TokenKind::kOperator &&
               next().text == "=") {
      if (arguments.more != nullptr) fail("invalid syntax for a call");
      std::string name = current().text;
      skip();
      skip();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!arguments.named.empty() || arguments.rest != nullptr || arguments.more != nullptr) {
        fail("an argument without a name follows one with a name");
      }
      arguments.positional.push_back(parse_expression());
    }
  }
  expect_operator(")");
  return arguments;
}

ExpressionPtr Parser::parse_filter(ExpressionPtr operand, bool start_inline) {
  int links = 0;
  while (start_inline || is_operator("|")) {
    link(links);
    if (!start_inline) skip();
    start_inline = false;
    const int line = current().line;
    std::string name = expect_name("a filter");
    while (skip_operator(".")) name += "." + expect_name("a filter");
    const Filter function = find_filter(name);
    if (function == nullptr) fail_at(line, fmt::format("the filter {} is not supported", name));
    CallArguments arguments;
    if (is_operator("(")) arguments = parse_arguments();
    operand = make(line, FilterCall{std::move(operand), std::move(name), function, std::move(arguments)});
  }
  return operand;
}

ExpressionPtr Parser::parse_test(ExpressionPtr operand) {
  const int line = current().line;
  skip();  // is
  const bool negated = skip_name("not");
  std::string name = expect_name("a test");
  while (skip_operator(".")) name += "." + expect_name("a test");
  CallArguments arguments;
  const TokenKind kind = current().kind;
  if (is_operator("(")) {
    arguments = parse_arguments();
  } else if ((kind == TokenKind::kName && !is_name("else") && !is_name("or") && !is_name("and")) ||
             kind == TokenKind::kString || kind == TokenKind::kInteger || kind == TokenKind::kFloat ||
             is_operator("[") || is_operator("{")) {
    if (is_name("is")) fail("tests cannot be chained with is");
    arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  const Test function = find_test(name);
  if (function == nullptr) fail_at(line, fmt::format("the test {} is not supported", name));
  ExpressionPtr node =
      make(line, TestCall{std::move(operand), std::move(name), function, std::move(arguments)});
  if (negated) node = make(line, Unary{'!', std::move(node)});
  return node;
}

}  // namespace rlcpp::tokenizer::jinja
