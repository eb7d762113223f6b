// Calibration text written by the model itself (LLM-QAT, 2023, section 3.1: data-free calibration).
#pragma once

#include <optional>
#include <vector>

#include "arch/source.h"
#include "vernier/recipe.h"
#include "vernier/tokenizer.h"

namespace vernier {

// samples x ctx ids drawn at temperature 1 from the full distribution, each sample from BOS (a model without one:
// from a uniformly drawn token). Several samples are drawn at once; how many follows from the model and ctx alone, so
// that the ids depend on nothing else but the seed.
Result<std::vector<TokenId>> sample_from_model(const ModelSource& source, std::optional<TokenId> bos,
                                               const Recipe::Calibration& options, std::int64_t memory_bytes);

}  // namespace vernier
