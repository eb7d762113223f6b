// Expressions of a template, by recursive descent; the statements' parser builds on it.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "io/chat/lexer.h"
#include "io/chat/syntax.h"
#include "vernier/status.h"

namespace vernier::chat {

// A place in the tokens of a template.
class TokenReader {
 public:
  explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  using Kinds = Token::Kind;

  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_++]; }
  void skip() { ++at_; }
  bool is_symbol(std::string_view text) const { return peek().kind == Kinds::symbol && peek().text == text; }
  bool is_word(std::string_view text) const { return peek().kind == Kinds::name && peek().text == text; }
  bool take_symbol(std::string_view text) { return is_symbol(text) && ++at_; }
  bool take_word(std::string_view text) { return is_word(text) && ++at_; }

  Status expect_symbol(std::string_view text);
  Status expect_block_end();
  Result<std::string> expect_name();
  Error expected(std::string_view what) const;
  Error unsupported(std::string_view what) const;

 private:
  std::vector<Token> tokens_;  // the last one is Kind::end
  std::size_t at_ = 0;
};

class ExpressionParser : public TokenReader {
 public:
  using TokenReader::TokenReader;

 protected:
  Result<ExpressionPtr> expression();
  Result<ExpressionPtr> disjunction();  // an expression without "if"

 private:
  using Kind = Expression::Kind;

  // Sets the depth of a finished node from its operands.
  Result<ExpressionPtr> finish(ExpressionPtr node) const;
  ExpressionPtr make(Kind kind, std::string name = {}) const;
  template <class... Operands>
  Result<ExpressionPtr> make_over(Kind kind, std::string name, Operands... operands) const;

  // From the loosest operator to the tightest.
  Result<ExpressionPtr> conjunction();
  Result<ExpressionPtr> negation();
  Result<ExpressionPtr> comparison();
  Result<ExpressionPtr> sum();
  Result<ExpressionPtr> concatenation();
  Result<ExpressionPtr> product();
  Result<ExpressionPtr> unary(bool with_filters);
  Result<ExpressionPtr> filters_and_tests(ExpressionPtr node);
  Result<ExpressionPtr> postfix(ExpressionPtr node);
  Result<ExpressionPtr> primary();

  Result<ExpressionPtr> name(const std::string& word, ExpressionPtr node) const;
  Result<ExpressionPtr> map(ExpressionPtr node);
  Result<ExpressionPtr> subscript(ExpressionPtr of);
  Status arguments(Expression& call);
  Status test_argument(Expression& test);
  std::string take_comparison();
  std::string take_one_of(std::initializer_list<const char*> symbols);

  int depth_ = 0;
};

}  // namespace vernier::chat
