// The tokenizer of a Hugging Face folder as GGUF metadata.
#pragma once

#include <string>

#include "io/gguf/header_writer.h"
#include "vernier/status.h"

namespace vernier {

// Whether there is one of the files that add_gguf_tokenizer() reads.
bool has_tokenizer(const std::string& folder);

// Adds tokenizer.* keys for the folder's tokenizer.json or tokenizer.model, padded to `vocabulary` tokens. A
// folder with neither adds nothing. Errors: one that GGUF has no name for (a unigram model, unknown
// word rules), more tokens than `vocabulary`.
Status add_gguf_tokenizer(const std::string& folder, std::int64_t vocabulary, GgufHeaderWriter& out);

}  // namespace vernier
