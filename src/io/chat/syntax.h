// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/chat/value.h"
#include "vernier/status.h"

namespace vernier::chat {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    literal,      // value
    list,         // operands
    map,          // operands: key, value, key, value, ...
    variable,     // name
    attribute,    // operands[0] . name
    index,        // operands[0] [ operands[1] ]
    slice,        // operands[0] [ operands[1] : operands[2] : operands[3] ]; a missing bound is a literal none
    call,         // operands[0] ( operands[1...], named )
    filter,       // operands[0] | name ( operands[1...], named )
    test,         // operands[0] is name ( operands[1...] )
    unary,        // name ("not", "-", "+") operands[0]
    binary,       // operands[0] name operands[1]; name is an operator, "in", "not in", "and", "or"
    conditional,  // operands[0] if operands[1] else operands[2]
  };
  Kind kind = Kind::literal;
  int line = 0;
  int depth = 1;
  std::string name;
  Value value;
  std::vector<ExpressionPtr> operands;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Statement;
using Block = std::vector<Statement>;

struct Branch {
  ExpressionPtr condition;  // null for else
  Block body;
};

struct Statement {
  enum class Kind { text, output, set, choose, loop };
  Kind kind = Kind::text;
  int line = 0;
  std::string text;                  // of Kind::text
  ExpressionPtr value;               // printed, assigned, or iterated over
  std::vector<std::string> targets;  // loop: one name or two; set: a variable, or a namespace and its attribute
  ExpressionPtr condition;           // "if" of a loop, may be null
  std::vector<Branch> branches;      // choose
  Block body, otherwise;             // loop
};

// Parses a template with the newline handling chat templates assume (trim_blocks and lstrip_blocks on). Errors give
// the line and name what is not supported.
Result<Block> parse_template(std::string_view source);

}  // namespace vernier::chat
