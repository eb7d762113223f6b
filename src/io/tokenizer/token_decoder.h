// Decoders of tokenizer.json: the pieces of a token sequence turned back into text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/tokenizer/component.h"
#include "vernier/status.h"

namespace vernier {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  virtual std::vector<std::string> apply(std::vector<std::string> pieces) const = 0;
};

// "ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", and sequences of them; null is an empty list.
Result<std::vector<std::unique_ptr<TokenDecoder>>> make_decoders(const JsonTree& json, const std::string& where);

// The byte of a piece such as "<0x0A>", or -1.
int byte_of_piece(std::string_view piece);

}  // namespace vernier
