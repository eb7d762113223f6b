// From hidden states to scored tokens, a tile of logits at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "eval/metric.h"
#include "runtime/forward.h"
#include "vernier/tokenizer.h"

namespace vernier {

// Most bytes of one tile of logits, [rows, vocab] floats. With a reference there are two tiles.
inline constexpr std::int64_t logits_tile_bytes = 32 << 20;

std::int64_t logits_tile_rows(std::int64_t vocab);

// The logits of hidden row `row` are scored against `target`.
struct ScoredRow {
  std::int64_t row = 0;
  TokenId target = 0;
};

// A model and the hidden states it produced, [rows, hidden].
struct ScoredModel {
  Forward* forward = nullptr;
  const Buffer* hidden = nullptr;
};

// Calls `sink` with tiles of consecutive `rows`. `reference` may be empty (null forward); its rows are the model's.
// Logits that are NaN or infinite are an error that names the row.
Status score_rows(const ScoredModel& model, const ScoredModel& reference, std::span<const ScoredRow> rows,
                  std::int64_t vocab, const std::function<void(std::span<const ScoredToken>)>& sink);

// log of the sum of exp(logits), in double: float exponentials would leave noise of 1e-8 in KL.
double log_normalizer(std::span<const float> logits);

}  // namespace vernier
