#include "tokenizer/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "tokenizer/jinja/parser_detail.h"

namespace rlcpp::tokenizer::jinja {

Body parse(const std::string& source) {
  return Parser(tokenize(source)).parse_template();
}

bool Parser::skip_operator(std::string_view op) {
  if (!is_operator(op)) return false;
  skip();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  skip();
  return true;
}

void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) fail(fmt::format("'{}' is expected, not {}", op, describe_current()));
}

std::string Parser::expect_name(std::string_view what) {
  if (current().kind != TokenKind::kName)
    fail(fmt::format("{} is expected, not {}", what, describe_current()));
  std::string name = current().text;
  skip();
  return name;
}

void Parser::expect_block_end() {
  if (current().kind != TokenKind::kBlockEnd)
    fail(fmt::format("'%}}' is expected, not {}", describe_current()));
  skip();
}

void Parser::fail(const std::string& message) const {
  fail_at(current().line, message);
}

void Parser::fail_at(int line, const std::string& message) const {
  throw bad_input(fmt::format("chat template line {}: {}", line, message));
}

std::string Parser::describe_current() const {
  switch (current().kind) {
    case TokenKind::kText:
      return "text";
    case TokenKind::kBlockBegin:
      return "{%";
    case TokenKind::kBlockEnd:
      return "the end of the block";
    case TokenKind::kOutputBegin:
      return "{{";
    case TokenKind::kOutputEnd:
      return "the end of the output";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return fmt::format("'{}'", current().text);
  }
}

Body Parser::parse_template() {
  Body body = parse_body({});
  if (current().kind != TokenKind::kEnd) fail(fmt::format("unexpected {}", describe_current()));
  return body;
}

Body Parser::parse_body(const std::vector<std::string_view>& ends) {
  const Nesting nesting(*this);
  Body body;
  while (true) {
    const int line = current().line;
    switch (current().kind) {
      case TokenKind::kText:
        body.push_back({line, Text{current().text}});
        skip();
        break;
      case TokenKind::kOutputBegin: {
        skip();
        body.push_back({line, Output{parse_tuple()}});
        if (current().kind != TokenKind::kOutputEnd) {
          fail(fmt::format("'}}}}' is expected, not {}", describe_current()));
        }
        skip();
        break;
      }
      case TokenKind::kBlockBegin: {
        skip();
        if (current().kind != TokenKind::kName)
          fail(fmt::format("a tag is expected, not {}", describe_current()));
        if (std::find(ends.begin(), ends.end(), current().text) != ends.end()) return body;
        body.push_back(parse_statement());
        break;
      }
      default:
        if (!ends.empty()) fail(fmt::format("{{% {} %}} is missing", ends.back()));
        return body;
    }
  }
}

void Parser::end_block(std::string_view name) {
  if (!skip_name(name)) fail(fmt::format("{{% {} %}} is expected, not {}", name, describe_current()));
  expect_block_end();
}

Statement Parser::parse_statement() {
  Statement statement;
  statement.line = current().line;
  const std::string tag = current().text;
  skip();
  if (tag == "if") {
    statement.node = parse_if();
  } else if (tag == "for") {
    statement.node = parse_for();
  } else if (tag == "set") {
    parse_set(statement);
  } else if (tag == "macro") {
    statement.node = parse_macro();
  } else if (tag == "call") {
    statement.node = parse_call();
  } else if (tag == "with") {
    statement.node = parse_with();
  } else if (tag == "filter") {
    FilterBlock block;
    block.filter = parse_filter(nullptr, true);
    expect_block_end();
    block.body = parse_body({"endfilter"});
    end_block("endfilter");
    statement.node = std::move(block);
  } else if (tag == "generation") {
    expect_block_end();
    Scoped block{parse_body({"endgeneration"})};
    end_block("endgeneration");
    statement.node = std::move(block);
  } else if (tag == "break" || tag == "continue") {
    if (loops_ == 0) fail_at(statement.line, fmt::format("{{% {} %}} stands outside a loop", tag));
    expect_block_end();
    if (tag == "break") {
      statement.node = Break{};
    } else {
      statement.node = Continue{};
    }
  } else {
    fail_at(statement.line, fmt::format("the tag {{% {} %}} is not supported", tag));
  }
  return statement;
}

If Parser::parse_if() {
  If node;
  ExpressionPtr test = parse_tuple(false);
  while (true) {
    expect_block_end();
    Body body = parse_body({"elif", "else", "endif"});
    node.branches.emplace_back(std::move(test), std::move(body));
    if (skip_name("elif")) {
      test = parse_tuple(false);
      continue;
    }
    if (skip_name("else")) {
      expect_block_end();
      node.otherwise = parse_body({"endif"});
    }
    end_block("endif");
    return node;
  }
}

For Parser::parse_for() {
  For node;
  node.target = parse_target(false);
  if (!skip_name("in")) fail(fmt::format("'in' is expected, not {}", describe_current()));
  node.items = parse_tuple(false);
  if (skip_name("if")) node.filter = parse_expression();
  if (is_name("recursive")) fail("recursive loops are not supported");
  expect_block_end();
  ++loops_;
  node.body = parse_body({"else", "endfor"});
  --loops_;
  if (skip_name("else")) {
    expect_block_end();
    node.otherwise = parse_body({"endfor"});
  }
  end_block("endfor");
  return node;
}

Target Parser::parse_single_target(bool with_namespace) {
  Target target;
  if (skip_operator("(")) {
    target = parse_target(false);
    expect_operator(")");
    return target;
  }
  target.name = expect_name("a name to assign to");
  for (const char* reserved : {"true", "false", "none", "True", "False", "None", "not", "and", "or"}) {
    if (target.name == reserved) fail(fmt::format("nothing can be assigned to '{}'", target.name));
  }
  if (target.name == "loop" && loops_ > 0) fail("nothing can be assigned to 'loop' inside a loop");
  if (with_namespace && skip_operator(".")) target.attribute = expect_name("an attribute");
  return target;
}

Target Parser::parse_target(bool with_namespace) {
  Target first = parse_single_target(with_namespace);
  if (!is_operator(",")) return first;
  Target tuple;
  tuple.items.push_back(std::move(first));
  while (skip_operator(",")) {
    if (is_name("in") || current().kind == TokenKind::kBlockEnd || is_operator(")")) break;
    tuple.items.push_back(parse_single_target(with_namespace));
  }
  return tuple;
}

void Parser::parse_set(Statement& statement) {
  Target target = parse_target(true);
  if (skip_operator("=")) {
    ExpressionPtr value = parse_tuple();
    expect_block_end();
    statement.node = Set{std::move(target), std::move(value)};
    return;
  }
  SetBlock block;
  block.target = std::move(target);
  if (is_operator("|")) block.filter = parse_filter(nullptr);
  expect_block_end();
  block.body = parse_body({"endset"});
  end_block("endset");
  statement.node = std::move(block);
}

Parameters Parser::parse_parameters() {
  Parameters parameters;
  expect_operator("(");
  while (!is_operator(")")) {
    if (!parameters.names.empty()) expect_operator(",");
    std::string name = expect_name("a parameter");
    if (std::find(parameters.names.begin(), parameters.names.end(), name) != parameters.names.end()) {
      fail(fmt::format("the parameter {} is named twice", name));
    }
    parameters.names.push_back(std::move(name));
    if (skip_operator("=")) {
      parameters.defaults.push_back(parse_expression());
    } else if (!parameters.defaults.empty()) {
      fail("a parameter without a default follows one with a default");
    }
  }
  expect_operator(")");
  return parameters;
}

Macro Parser::parse_macro() {
  auto definition = std::make_shared<MacroDefinition>();
  definition->name = expect_name("the name of a macro");
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(definition.get());
  definition->parameters = parse_parameters();
  expect_block_end();
  definition->body = parse_body({"endmacro"});
  macros_.pop_back();
  loops_ = loops;
  end_block("endmacro");
  return {std::move(definition)};
}

CallBlock Parser::parse_call() {
  auto caller = std::make_shared<MacroDefinition>();
  caller->name = "caller";
  if (is_operator("(")) caller->parameters = parse_parameters();
  const int line = current().line;
  ExpressionPtr call = parse_expression();
  if (!std::holds_alternative<Call>(call->node)) fail_at(line, "{% call %} needs a call");
  expect_block_end();
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(caller.get());
  caller->body = parse_body({"endcall"});
  macros_.pop_back();
  loops_ = loops;
  end_block("endcall");
  return {std::move(call), std::move(caller)};
}

With Parser::parse_with() {
  With node;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!node.assignments.empty()) expect_operator(",");
    Target target = parse_single_target(false);
    expect_operator("=");
    node.assignments.emplace_back(std::move(target), parse_expression());
  }
  expect_block_end();
  node.body = parse_body({"endwith"});
  end_block("endwith");
  return node;
}

}  // namespace rlcpp::tokenizer::jinja
