// The files beside the weights of a Hugging Face folder, made of GGUF metadata.
#pragma once

#include <string>
#include <vector>

#include "vernier/status.h"

namespace vernier {

struct MadeFile {
  std::string name, text;
};

// tokenizer.model or tokenizer.json, whichever has the file's pieces exactly, tokenizer_config.json with the chat
// template, and generation_config.json where several tokens end a text. None for a file without a vocabulary. Errors: a
// tokenizer that parse_gguf_tokenizer() refuses.
Result<std::vector<MadeFile>> gguf_companions(const std::string& path);

}  // namespace vernier
