#include <algorithm>

#include "io/chat/expression_parser.h"
#include "io/chat/syntax.h"

namespace vernier::chat {
namespace {

// Bounds the recursion of parser and evaluator.
constexpr int max_block_depth = 50;

class StatementParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Block> run() { return block_until({}); }

 private:
  // Statements up to a block tag that begins with one of `ends`, which is left to the caller.
  Result<Block> block_until(const std::vector<std::string_view>& ends) {
    Block block;
    if (++block_depth_ > max_block_depth) return unsupported("blocks nested this deep");
    while (peek().kind != Kinds::end) {
      if (peek().kind == Kinds::text) {
        Statement text;
        text.text = take().text;
        block.push_back(std::move(text));
      } else if (peek().kind == Kinds::output_begin) {
        Statement output;
        output.kind = Statement::Kind::output;
        output.line = take().line;
        VN_ASSIGN(output.value, expression());
        if (peek().kind != Kinds::output_end) return expected("}}");
        skip();
        block.push_back(std::move(output));
      } else {
        if (std::find(ends.begin(), ends.end(), peek(1).text) != ends.end()) break;
        skip();
        VN_ASSIGN(Statement next, statement());
        block.push_back(std::move(next));
      }
    }
    --block_depth_;
    if (peek().kind == Kinds::end && !ends.empty()) return expected(fmt::format("{{% {} %}}", ends.back()));
    return block;
  }

  Result<Statement> statement() {
    Statement out;
    out.line = peek().line;
    VN_ASSIGN(const std::string word, expect_name());
    if (word == "set") {
      VN_TRY(set_statement(out));
    } else if (word == "if") {
      VN_TRY(if_statement(out));
    } else if (word == "for") {
      VN_TRY(for_statement(out));
    } else {
      return unsupported(fmt::format("{{% {} %}}", word));
    }
    return out;
  }

  Status set_statement(Statement& out) {
    out.kind = Statement::Kind::set;
    VN_ASSIGN(std::string name, expect_name());
    out.targets.push_back(std::move(name));
    if (take_symbol(".")) {
      VN_ASSIGN(std::string attribute, expect_name());
      out.targets.push_back(std::move(attribute));
    }
    if (peek().kind == Kinds::block_end) return unsupported("{% set %} without a value");
    if (is_symbol(",")) return unsupported("{% set %} of several names");
    VN_TRY(expect_symbol("="));
    VN_ASSIGN(out.value, expression());
    return expect_block_end();
  }

  Status if_statement(Statement& out) {
    out.kind = Statement::Kind::choose;
    bool more = true;
    while (more) {
      Branch branch;
      VN_ASSIGN(branch.condition, expression());
      VN_TRY(expect_block_end());
      VN_ASSIGN(branch.body, block_until({"elif", "else", "endif"}));
      out.branches.push_back(std::move(branch));
      skip();
      more = take_word("elif");
    }
    if (take_word("else")) {
      Branch branch;
      VN_TRY(expect_block_end());
      VN_ASSIGN(branch.body, block_until({"endif"}));
      out.branches.push_back(std::move(branch));
      skip();
    }
    if (!take_word("endif")) return expected("{% endif %}");
    return expect_block_end();
  }

  Status for_statement(Statement& out) {
    out.kind = Statement::Kind::loop;
    do {
      VN_ASSIGN(std::string target, expect_name());
      out.targets.push_back(std::move(target));
    } while (take_symbol(","));
    if (out.targets.size() > 2) return unsupported("a loop over more than two names");
    if (!take_word("in")) return expected("in");
    VN_ASSIGN(out.value, disjunction());
    if (take_word("if")) {
      VN_ASSIGN(out.condition, expression());
    }
    if (is_word("recursive")) return unsupported("a recursive loop");
    VN_TRY(expect_block_end());
    VN_ASSIGN(out.body, block_until({"else", "endfor"}));
    skip();
    if (take_word("else")) {
      VN_TRY(expect_block_end());
      VN_ASSIGN(out.otherwise, block_until({"endfor"}));
      skip();
    }
    if (!take_word("endfor")) return expected("{% endfor %}");
    return expect_block_end();
  }

  int block_depth_ = 0;
};

}  // namespace

Result<Block> parse_template(std::string_view source) {
  VN_ASSIGN(std::vector<Token> tokens, lex_template(source));
  return StatementParser(std::move(tokens)).run();
}

}  // namespace vernier::chat
