// The parser's two halves share this class: expressions (parser_expressions.cpp) and statements (parser.cpp).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/lexer.h"

namespace rlcpp::tokenizer::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Body parse_template();

 private:
  // Tokens.
  const Token& current() const { return tokens_[pos_]; }
  const Token& next() const { return tokens_[pos_ + 1 < tokens_.size() ? pos_ + 1 : pos_]; }
  void skip() { pos_ += pos_ + 1 < tokens_.size(); }
  bool is_operator(std::string_view op) const {
    return current().kind == TokenKind::kOperator && current().text == op;
  }
  bool is_name(std::string_view name) const {
    return current().kind == TokenKind::kName && current().text == name;
  }
  bool skip_operator(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_operator(std::string_view op);
  std::string expect_name(std::string_view what);
  void expect_block_end();
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void fail_at(int line, const std::string& message) const;
  std::string describe_current() const;

  // Expressions.
  ExpressionPtr parse_expression() { return parse_conditional(); }
  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filter = true);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_postfix(ExpressionPtr node);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr node);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_filter(ExpressionPtr operand, bool start_inline = false);
  ExpressionPtr parse_test(ExpressionPtr operand);
  // Values with commas between them; `conditional` allows a if b else c inside, `parentheses` an empty tuple.
  ExpressionPtr parse_tuple(bool conditional = true, bool parentheses = false);
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  CallArguments parse_arguments();

  // Statements.
  Body parse_body(const std::vector<std::string_view>& ends);  // stops on the end tag's name
  Statement parse_statement();
  If parse_if();
  For parse_for();
  void parse_set(Statement& statement);
  Macro parse_macro();
  CallBlock parse_call();
  With parse_with();
  Target parse_target(bool with_namespace);
  Target parse_single_target(bool with_namespace);
  Parameters parse_parameters();
  void end_block(std::string_view name);

  // Counts the links of a chain such as a + b + c, whose tree leans to the left as deep as the chain is long.
  void link(int& links) const {
    if (++links > 200) fail("an expression is too long; use parentheses, ~ or {% set %}");
  }

  template <class Node>
  ExpressionPtr make(int line, Node node) {
    return std::make_unique<Expression>(Expression{line, std::move(node)});
  }

  // Bounds the parser's own recursion.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > 300) parser_.fail("the template is nested too deep");
    }
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  std::size_t pos_ = 0;
  int nesting_ = 0;
  int loops_ = 0;                         // enclosing loops, for break and continue
  std::vector<MacroDefinition*> macros_;  // enclosing macros, which learn what their bodies use
};

}  // namespace rlcpp::tokenizer::jinja
