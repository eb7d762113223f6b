// tokenizer.model: a SentencePiece model (Kudo and Richardson 2018), read and run by the SentencePiece library.
#pragma once

#include <memory>
#include <string>

#include "vernier/status.h"
#include "vernier/tokenizer.h"

namespace vernier {

// `model` is the file's bytes, `where` its path. Text after a special token begins with the model's dummy prefix
// space only where `prefix_after_special` says so (transformers' "legacy" behaviour).
Result<std::unique_ptr<Tokenizer>> parse_sentencepiece(const std::string& model, const std::string& where,
                                                       bool prefix_after_special);

}  // namespace vernier
