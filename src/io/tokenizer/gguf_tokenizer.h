// The tokenizer in the metadata of a GGUF file: "llama" (SentencePiece) and "gpt2" (byte-level byte-pair encoding).
#pragma once

#include <memory>
#include <string>

#include "io/gguf/file.h"
#include "vernier/tokenizer.h"

namespace vernier {

Result<std::unique_ptr<Tokenizer>> open_gguf_tokenizer(const std::string& path);
// Errors: another tokenizer model or pre-tokenizer, lists of different lengths, ids outside the vocabulary.
Result<std::unique_ptr<Tokenizer>> parse_gguf_tokenizer(const GgufReader& metadata);

// A SentencePiece model (tokenizer.model) of the file's pieces, scores and types.
Result<std::string> gguf_sentencepiece_model(const GgufReader& metadata);
// A tokenizer.json of the file's pieces, merges and word rule.
Result<std::string> gguf_tokenizer_json(const GgufReader& metadata);

// The file's chat template, and the texts of its BOS and EOS ("" where it has none).
struct GgufChat {
  std::string chat_template, bos, eos;
};
Result<GgufChat> read_gguf_chat(const std::string& path);

}  // namespace vernier
