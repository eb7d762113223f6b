// Calibration tokens: samples x ctx ids from a text file, a JSONL of texts or chats, the model itself, or a generator.
#pragma once

#include <string>
#include <vector>

#include "arch/source.h"
#include "vernier/recipe.h"
#include "vernier/tokenizer.h"

namespace vernier {

struct CalibrationSet {
  std::int64_t samples = 0, ctx = 0;
  std::vector<TokenId> ids;      // [samples * ctx]; each sample is BOS (where the model has one) + consecutive tokens
  std::string description;       // "128 x 512 of books-calib.txt"
  std::string fingerprint;
};

// `from`: a file path, "self" (sampled from `source`), or "random". Samples do not overlap and are picked by seed.
// Errors: an empty or too short text (tokens wanted, tokens found), invalid JSON lines (line number).
Result<CalibrationSet> load_calibration(const ModelSource& source, const std::string& from,
                                        const Recipe::Calibration& options);

}  // namespace vernier
