// A model with the outlier channels of large ones that computes what the model it was made of computes.
#pragma once

#include <string>

#include "cli/activation_survey.h"

namespace vernier {

struct OutlierOptions {
  double strength = 32;       // what chosen channels are multiplied by, rounded to a power of two
  std::int64_t channels = 4;  // chosen of each edge's; those of norms are the same in the whole model
  std::uint64_t seed = 0;
  bool rotate = false;  // first turn the residual stream so that its principal directions are the chosen channels
  std::string edges = "all", dtype = "auto", calib = "self";
  std::int64_t max_shard_bytes = 1 << 30;
};

struct OutlierReport {
  double strength = 0;  // as applied
  std::string dtype;    // of the tensors written; "auto" where every tensor keeps its own
  bool untied = false;  // the head got a weight of its own
  std::int64_t edges = 0;
  OutlierFigures before, after;  // on the same tokens
};

// Streams tensor by tensor. With `rotate`, `calib` (text, JSONL, "self" or "random") gives the tokens whose principal
// directions are taken; without, it only serves the figures.
// Unsupported: quantized models; with `rotate`, LayerNorm models and those whose residual stream cannot be rotated.
Result<OutlierReport> inject_outliers(const std::string& from, const std::string& folder,
                                      const OutlierOptions& options);

}  // namespace vernier
