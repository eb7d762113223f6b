#include "io/chat/expression_parser.h"

#include <cstdlib>

namespace vernier::chat {
namespace {

// Bounds the recursion of parser and evaluator.
constexpr int max_depth = 200;

}  // namespace

Error TokenReader::unsupported(std::string_view what) const {
  return fail(ErrorCode::unsupported, "line {}: {} is not supported", peek().line, what);
}

Error TokenReader::expected(std::string_view what) const {
  const Token& token = peek();
  std::string found = token.text;
  if (token.kind == Kinds::block_end) found = "%}";
  if (token.kind == Kinds::output_end) found = "}}";
  if (token.kind == Kinds::end) found = "the end of the template";
  return fail(ErrorCode::invalid, "line {}: expected {}, found {}", token.line, what, found);
}

Status TokenReader::expect_symbol(std::string_view text) {
  if (!take_symbol(text)) return expected(text);
  return {};
}

Status TokenReader::expect_block_end() {
  if (peek().kind != Kinds::block_end) return expected("%}");
  skip();
  return {};
}

Result<std::string> TokenReader::expect_name() {
  if (peek().kind != Kinds::name) return expected("a name");
  return take().text;
}

Result<ExpressionPtr> ExpressionParser::finish(ExpressionPtr node) const {
  for (const ExpressionPtr& operand : node->operands) node->depth = std::max(node->depth, operand->depth + 1);
  for (const auto& [name, operand] : node->named) node->depth = std::max(node->depth, operand->depth + 1);
  if (node->depth > max_depth) return unsupported("an expression nested this deep");
  return node;
}

ExpressionPtr ExpressionParser::make(Kind kind, std::string name) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = peek().line;
  node->name = std::move(name);
  return node;
}

template <class... Operands>
Result<ExpressionPtr> ExpressionParser::make_over(Kind kind, std::string name, Operands... operands) const {
  ExpressionPtr node = make(kind, std::move(name));
  (node->operands.push_back(std::move(operands)), ...);
  return finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::expression() {
  if (++depth_ > max_depth) return unsupported("an expression nested this deep");
  VN_ASSIGN(ExpressionPtr node, disjunction());
  while (take_word("if")) {
    VN_ASSIGN(ExpressionPtr condition, disjunction());
    ExpressionPtr otherwise = make(Kind::literal);
    otherwise->value = Value::Undefined{"the missing else"};
    if (take_word("else")) {
      VN_ASSIGN(otherwise, expression());
    }
    VN_ASSIGN(node, make_over(Kind::conditional, "", std::move(node), std::move(condition), std::move(otherwise)));
  }
  --depth_;
  return node;
}

Result<ExpressionPtr> ExpressionParser::disjunction() {
  VN_ASSIGN(ExpressionPtr left, conjunction());
  while (take_word("or")) {
    VN_ASSIGN(ExpressionPtr right, conjunction());
    VN_ASSIGN(left, make_over(Kind::binary, "or", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::conjunction() {
  VN_ASSIGN(ExpressionPtr left, negation());
  while (take_word("and")) {
    VN_ASSIGN(ExpressionPtr right, negation());
    VN_ASSIGN(left, make_over(Kind::binary, "and", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::negation() {
  if (!take_word("not")) return comparison();
  if (++depth_ > max_depth) return unsupported("an expression nested this deep");
  VN_ASSIGN(ExpressionPtr operand, negation());
  --depth_;
  return make_over(Kind::unary, "not", std::move(operand));
}

std::string ExpressionParser::take_comparison() {
  for (const char* symbol : {"==", "!=", "<", ">", "<=", ">="}) {
    if (take_symbol(symbol)) return symbol;
  }
  if (take_word("in")) return "in";
  if (is_word("not") && peek(1).kind == Kinds::name && peek(1).text == "in") {
    skip();
    skip();
    return "not in";
  }
  return {};
}

Result<ExpressionPtr> ExpressionParser::comparison() {
  VN_ASSIGN(ExpressionPtr left, sum());
  const std::string name = take_comparison();
  if (name.empty()) return left;
  VN_ASSIGN(ExpressionPtr right, sum());
  if (!take_comparison().empty()) return unsupported("a chain of comparisons");
  return make_over(Kind::binary, name, std::move(left), std::move(right));
}

std::string ExpressionParser::take_one_of(std::initializer_list<const char*> symbols) {
  for (const char* symbol : symbols) {
    if (take_symbol(symbol)) return symbol;
  }
  return {};
}

Result<ExpressionPtr> ExpressionParser::sum() {
  VN_ASSIGN(ExpressionPtr left, concatenation());
  for (std::string name; !(name = take_one_of({"+", "-"})).empty();) {
    VN_ASSIGN(ExpressionPtr right, concatenation());
    VN_ASSIGN(left, make_over(Kind::binary, name, std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::concatenation() {
  VN_ASSIGN(ExpressionPtr left, product());
  while (take_symbol("~")) {
    VN_ASSIGN(ExpressionPtr right, product());
    VN_ASSIGN(left, make_over(Kind::binary, "~", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::product() {
  VN_ASSIGN(ExpressionPtr left, unary(true));
  for (std::string name; !(name = take_one_of({"*", "/", "//", "%"})).empty();) {
    VN_ASSIGN(ExpressionPtr right, unary(true));
    VN_ASSIGN(left, make_over(Kind::binary, name, std::move(left), std::move(right)));
  }
  if (is_symbol("**")) return unsupported("**");
  return left;
}

// A sign binds tighter than filters and tests: -x|abs is (-x)|abs.
Result<ExpressionPtr> ExpressionParser::unary(bool with_filters) {
  ExpressionPtr node;
  if (const std::string sign = take_one_of({"-", "+"}); !sign.empty()) {
    if (++depth_ > max_depth) return unsupported("an expression nested this deep");
    VN_ASSIGN(ExpressionPtr operand, unary(false));
    --depth_;
    VN_ASSIGN(node, make_over(Kind::unary, sign, std::move(operand)));
  } else {
    VN_ASSIGN(node, primary());
    VN_ASSIGN(node, postfix(std::move(node)));
  }
  if (!with_filters) return node;
  return filters_and_tests(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::primary() {
  const Token token = peek();
  ExpressionPtr node = make(Kind::literal);
  switch (token.kind) {
    case Kinds::string:
      node->value = std::string();
      for (std::string text; peek().kind == Kinds::string;) {  // neighbouring strings are one
        text += take().text;
        node->value = text;
      }
      return node;
    case Kinds::integer:
      skip();
      node->value = static_cast<std::int64_t>(std::strtoll(token.text.c_str(), nullptr, 10));
      return node;
    case Kinds::real:
      skip();
      node->value = std::strtod(token.text.c_str(), nullptr);
      return node;
    case Kinds::name:
      skip();
      return name(token.text, std::move(node));
    default:
      break;
  }
  if (take_symbol("(")) {
    VN_ASSIGN(node, expression());
    if (is_symbol(",")) return unsupported("a tuple");
    VN_TRY(expect_symbol(")"));
    return node;
  }
  if (take_symbol("[")) {
    node->kind = Kind::list;
    while (!take_symbol("]")) {
      if (!node->operands.empty()) VN_TRY(expect_symbol(","));
      if (take_symbol("]")) break;
      VN_ASSIGN(ExpressionPtr item, expression());
      node->operands.push_back(std::move(item));
    }
    return finish(std::move(node));
  }
  if (take_symbol("{")) return map(std::move(node));
  return expected("a value");
}

Result<ExpressionPtr> ExpressionParser::name(const std::string& word, ExpressionPtr node) const {
  if (word == "true" || word == "True") {
    node->value = true;
  } else if (word == "false" || word == "False") {
    node->value = false;
  } else if (word != "none" && word != "None") {
    node->kind = Kind::variable;
    node->name = word;
  }
  return node;
}

Result<ExpressionPtr> ExpressionParser::map(ExpressionPtr node) {
  node->kind = Kind::map;
  while (!take_symbol("}")) {
    if (!node->operands.empty()) VN_TRY(expect_symbol(","));
    if (take_symbol("}")) break;
    VN_ASSIGN(ExpressionPtr key, expression());
    VN_TRY(expect_symbol(":"));
    VN_ASSIGN(ExpressionPtr value, expression());
    node->operands.push_back(std::move(key));
    node->operands.push_back(std::move(value));
  }
  return finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::postfix(ExpressionPtr node) {
  for (;;) {
    if (take_symbol(".")) {
      VN_ASSIGN(std::string attribute, expect_name());
      VN_ASSIGN(node, make_over(Kind::attribute, std::move(attribute), std::move(node)));
    } else if (take_symbol("[")) {
      VN_ASSIGN(node, subscript(std::move(node)));
    } else if (is_symbol("(")) {
      ExpressionPtr call = make(Kind::call);
      call->operands.push_back(std::move(node));
      VN_TRY(arguments(*call));
      VN_ASSIGN(node, finish(std::move(call)));
    } else {
      return node;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::subscript(ExpressionPtr of) {
  ExpressionPtr bounds[3] = {make(Kind::literal), make(Kind::literal), make(Kind::literal)};
  int count = 0;
  bool slice = false;
  while (!take_symbol("]")) {
    if (take_symbol(":")) {
      slice = true;
      if (++count > 2) return expected("]");
    } else {
      VN_ASSIGN(bounds[count], expression());
      if (!is_symbol(":") && !is_symbol("]")) return expected("]");
    }
  }
  if (slice) {
    return make_over(Kind::slice, "", std::move(of), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2]));
  }
  return make_over(Kind::index, "", std::move(of), std::move(bounds[0]));
}

// "(a, b, name=c)" into `call`.
Status ExpressionParser::arguments(Expression& call) {
  VN_TRY(expect_symbol("("));
  for (bool first = true; !take_symbol(")"); first = false) {
    if (!first) VN_TRY(expect_symbol(","));
    if (take_symbol(")")) break;
    if (is_symbol("*") || is_symbol("**")) return unsupported("an unpacked argument");
    if (peek().kind == Kinds::name && peek(1).kind == Kinds::symbol && peek(1).text == "=") {
      std::string name = peek().text;
      skip();
      skip();
      VN_ASSIGN(ExpressionPtr value, expression());
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.named.empty()) return expected("a named argument");
      VN_ASSIGN(ExpressionPtr value, expression());
      call.operands.push_back(std::move(value));
    }
  }
  return {};
}

Result<ExpressionPtr> ExpressionParser::filters_and_tests(ExpressionPtr node) {
  for (;;) {
    if (take_symbol("|")) {
      VN_ASSIGN(std::string name, expect_name());
      ExpressionPtr filter = make(Kind::filter, std::move(name));
      filter->operands.push_back(std::move(node));
      if (is_symbol("(")) VN_TRY(arguments(*filter));
      VN_ASSIGN(node, finish(std::move(filter)));
    } else if (take_word("is")) {
      const bool negated = take_word("not");
      VN_ASSIGN(std::string name, expect_name());
      ExpressionPtr test = make(Kind::test, std::move(name));
      test->operands.push_back(std::move(node));
      VN_TRY(test_argument(*test));
      VN_ASSIGN(node, finish(std::move(test)));
      if (negated) {
        VN_ASSIGN(node, make_over(Kind::unary, "not", std::move(node)));
      }
    } else {
      return node;
    }
  }
}

// "is in x" and "is equalto x" take their argument without brackets too.
Status ExpressionParser::test_argument(Expression& test) {
  if (is_symbol("(")) return arguments(test);
  const Token& next = peek();
  constexpr std::string_view followers[] = {"and", "or", "else", "if", "is", "not", "in"};
  const bool follower = next.kind != Kinds::name ||
                        std::find(std::begin(followers), std::end(followers), next.text) != std::end(followers);
  const bool literal = next.kind == Kinds::string || next.kind == Kinds::integer || next.kind == Kinds::real;
  if (follower && !literal && !is_symbol("[") && !is_symbol("{")) return {};
  VN_ASSIGN(ExpressionPtr argument, primary());
  VN_ASSIGN(argument, postfix(std::move(argument)));
  test.operands.push_back(std::move(argument));
  return {};
}

}  // namespace vernier::chat
