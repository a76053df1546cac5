// The syntax tree of a template.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/value.h"

namespace rlcpp::tokenizer::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

// Arguments of a call before they are evaluated: f(a, b=1, *rest, **more).
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr rest;
  ExpressionPtr more;
};

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<ExpressionPtr> items;
  bool tuple = false;
};
struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Unary {
  char op;  // '-', '+', '!' (not)
  ExpressionPtr operand;
};
struct Binary {
  std::string op;  // + - * / // % **
  ExpressionPtr left, right;
};
struct Logical {
  bool is_and;
  ExpressionPtr left, right;
};
struct Concat {  // a ~ b ~ c
  std::vector<ExpressionPtr> parts;
};
struct Comparison {  // a < b <= c; also in, "not in"
  ExpressionPtr first;
  std::vector<std::pair<std::string, ExpressionPtr>> rest;
};
struct Conditional {  // yes if test else no; without `no` undefined
  ExpressionPtr test, yes, no;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Subscript {
  ExpressionPtr object, index;
};
struct Slice {
  ExpressionPtr object, begin, end, step;  // absent parts are null
};
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct FilterCall {
  ExpressionPtr operand;  // null: the text of a {% filter %} or {% set %} block
  std::string name;
  Filter function;
  CallArguments arguments;
};
struct TestCall {
  ExpressionPtr operand;
  std::string name;
  Test function;
  CallArguments arguments;
};

struct Expression {
  int line = 1;
  std::variant<Literal, Name, ListLiteral, DictLiteral, Unary, Binary, Logical, Concat, Comparison,
               Conditional, Attribute, Subscript, Slice, Call, FilterCall, TestCall>
      node;
};

// Where a value goes: a name, an attribute of a namespace, or several targets at once.
struct Target {
  std::string name;
  std::string attribute;      // not empty: name.attribute
  std::vector<Target> items;  // not empty: a tuple
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameters {
  std::vector<std::string> names;
  std::vector<ExpressionPtr> defaults;  // of the last names
};

struct Text {
  std::string text;
};
struct Output {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExpressionPtr items;
  ExpressionPtr filter;  // may be null
  Body body;
  Body otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  ExpressionPtr filter;  // chain of FilterCall whose innermost operand is null; may be null
  Body body;
};
// What a macro body uses of what it was called with beyond its parameters.
struct MacroDefinition {
  std::string name;
  Parameters parameters;
  Body body;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
};
struct Macro {
  std::shared_ptr<const MacroDefinition> definition;
};
struct CallBlock {
  ExpressionPtr call;  // of kind Call
  std::shared_ptr<const MacroDefinition> caller;
};
struct FilterBlock {
  ExpressionPtr filter;
  Body body;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  Body body;
};
struct Scoped {  // {% generation %}: HF's mark of what the assistant says
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  int line = 1;
  std::variant<Text, Output, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock, With, Scoped, Break,
               Continue>
      node;
};

}  // namespace rlcpp::tokenizer::jinja
