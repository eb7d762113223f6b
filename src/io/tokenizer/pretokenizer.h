// Pre-tokenizers of tokenizer.json: text cut into the words that byte-pair encoding never merges across.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/tokenizer/component.h"
#include "vernier/status.h"

namespace vernier {

struct Piece {
  std::string text;       // valid UTF-8, not empty
  bool at_start = false;  // whether it begins where the whole input begins
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual std::vector<Piece> apply(std::vector<Piece> pieces) const = 0;
};

// "ByteLevel", "Split", "Metaspace", "Digits", "Whitespace", and sequences of them; null is an empty list.
Result<std::vector<std::unique_ptr<PreTokenizer>>> make_pretokenizers(const JsonTree& json, const std::string& where);

}  // namespace vernier
