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
  std::vector<TokenId> ids;  // [samples * ctx]; each sample is BOS (where the model has one) + consecutive tokens
  std::string description;   // "128 x 512 of books-calib.txt"
  std::string fingerprint;
};

// `from`: a file path (".jsonl" and ".json": one {"text": ...} or {"messages": [{"role", "content"}, ...]} a line,
// documents joined into one stream; anything else: plain text), "self" (sampled from `source` at temperature 1), or
// "random" (uniform ids).
// A text is cut into non-overlapping pieces of ctx - 1 tokens, each led by BOS; a model without BOS gets pieces of ctx.
// Seed 0 takes the first `samples` pieces in the order of the text, any other seed a seeded choice of all of them.
// memory_bytes (0: unbounded) only decides whether `self` streams the weights; the ids do not depend on it.
// Errors: an empty or too short text (samples wanted and found), invalid JSON lines (line number).
Result<CalibrationSet> load_calibration(const ModelSource& source, const std::string& from,
                                        const Recipe::Calibration& options, std::int64_t memory_bytes = 0);

}  // namespace vernier
