// How a text becomes pieces and which of their tokens are scored (design.md, "Numbers").
#pragma once

#include <cstdint>
#include <vector>

#include "eval/evaluate.h"

namespace vernier {

// Pieces of one length; in each, positions [first_target, length) are scored, position t from what came before it.
struct Pieces {
  std::int64_t length = 0;
  std::int64_t first_target = 1;
  std::vector<TokenId> ids;  // [count * length]

  std::int64_t count() const { return length == 0 ? 0 : static_cast<std::int64_t>(ids.size()) / length; }
  std::int64_t scored() const { return count() * (length - first_target); }
};

// `text`: ids without BOS. A model without a BOS token gets none: `window` pieces are then ctx tokens of text whose
// first is not scored. Errors: ctx < 2 (llamacpp: < 4); a text too short for one piece, with tokens wanted and found.
Result<Pieces> cut_pieces(std::vector<TokenId> text, const Tokenizer& tokenizer, Protocol protocol, std::int64_t ctx);

}  // namespace vernier
