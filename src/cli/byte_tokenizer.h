// A tokenizer that knows bytes and nothing else, for models without one: tokenizer.json and tokenizer_config.json.
#pragma once

#include <cstdint>
#include <string>

#include "vernier/status.h"

namespace vernier {

// Ids: 0 <unk>, 1 <s>, 2 </s>, then the 256 bytes, then fillers up to the vocabulary size.
inline constexpr std::int64_t byte_tokenizer_bos = 1;
inline constexpr std::int64_t byte_tokenizer_eos = 2;
inline constexpr std::int64_t byte_tokenizer_smallest = 3 + 256;

Status write_byte_tokenizer(const std::string& folder, std::int64_t vocab, std::int64_t max_positions);

}  // namespace vernier
