// tokenizer.json: added tokens, normalizers, pre-tokenizers, byte-pair encoding and decoders, put together.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "io/tokenizer/component.h"
#include "vernier/status.h"
#include "vernier/tokenizer.h"

namespace vernier {

// Reads the text of a tokenizer.json; `where` (its path) goes into errors. Where the file's template puts a token in
// front of every text, `bos` is that token and `add_bos` is set. Components outside the supported set are refused by
// name.
Result<std::unique_ptr<Tokenizer>> parse_tokenizer_json(std::string_view text, const std::string& where);
// The same of a tree in memory.
Result<std::unique_ptr<Tokenizer>> make_hf_tokenizer(const JsonTree& root, const std::string& where);

}  // namespace vernier
