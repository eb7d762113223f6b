// Cuts a template into text and the tokens inside {{ }} and {% %}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vernier/status.h"

namespace vernier::chat {

struct Token {
  enum class Kind { text, output_begin, output_end, block_begin, block_end, name, string, integer, real, symbol, end };
  Kind kind = Kind::end;
  std::string text;  // strings unescaped
  int line = 0;
};

// White space around tags is dealt with here: "-" marks, one newline after a block or comment (trim_blocks), blanks
// before a block or comment that starts its line (lstrip_blocks), one newline at the end of the template.
Result<std::vector<Token>> lex_template(std::string_view source);

}  // namespace vernier::chat
