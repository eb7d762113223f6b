// Choosing a token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "vernier/status.h"
#include "vernier/tokenizer.h"

namespace vernier {

// Applied in this order, which is that of Hugging Face transformers: repetition penalty, temperature, top-k, top-p,
// min-p, each on what the ones before left.
struct SamplerOptions {
  float temperature = 0;         // 0: the likeliest token, after the repetition penalty
  int top_k = 0;                 // keep the K likeliest; 0: all
  float top_p = 1;               // keep the smallest set of likeliest tokens with at least this share
  float min_p = 0;               // keep tokens with at least this times the likeliest one's probability
  float repetition_penalty = 1;  // logits of tokens seen before: divided by it if positive, else multiplied
  std::uint64_t seed = 0;
};
Status validate(const SamplerOptions& options);  // names the option, what it may be and what it is

// One token from logits [vocab]; `step` numbers the draws of a sequence, `seen` is its text so far for the repetition
// penalty (prompt included). Ties go to the lower id.
TokenId sample(std::span<const float> logits, const SamplerOptions& options, std::uint64_t step,
               std::span<const TokenId> seen = {});

}  // namespace vernier
