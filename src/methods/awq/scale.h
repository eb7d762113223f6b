// AWQ's scale search: columns that meet large inputs are scaled up before rounding, by a power of the inputs' size that
// is picked from a grid (AWQ, 2023, section 3.2; handbook, transforms, 3).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "arch/edges.h"
#include "methods/method.h"

namespace vernier::awq {

struct ScaleOptions {
  int grid = 20;           // ratios n / grid, n = 0 .. grid - 1
  bool activation = true;  // candidates s = m^a
  bool duo = true;         // candidates s = m^a / u^(1 - a)
  std::int64_t max_tokens = 4096;
};

// s_j = max(m_j^ratio, 1e-4), divided by u_j^(1 - ratio) where u is given, then by sqrt(max s * min s).
// m [channels]: mean |x|; u [channels]: mean of |w| / group maximum, or empty. Dead channels (m or u 0) are safe.
std::vector<float> candidate(std::span<const float> m, std::span<const float> u, double ratio);

// u of `edge`: |W_oj| / (largest |W_o| of the group of j), averaged over the rows of all quantized consumers.
Result<std::vector<float>> normalized_weight(BlockContext& block, const ScaleEdge& edge);

struct ScaleChoice {
  std::vector<float> factor;           // all 1: identity
  std::string rule;                    // "identity", "activation 0.35", "duo 0.40"
  double loss = 0, identity_loss = 0;  // loss <= identity_loss
};
// `mean_abs` [columns of the edge's value].
Result<ScaleChoice> search_scale(BlockContext& block, const ScaleEdge& edge, std::span<const float> mean_abs,
                                 const ScaleOptions& options);

}  // namespace vernier::awq
