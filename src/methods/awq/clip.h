// AWQ's clip search: for each row and group, the range is shrunk to where the group's own output errs least
// (handbook, transforms, 1, B6). Applied by clamping the weights, so any solver that follows sees the result.
#pragma once

#include <cstdint>

#include "formats/range.h"
#include "methods/method.h"

namespace vernier::awq {

struct ClipOptions {
  int steps = 20;  // ranges 1 - max_shrink * i / steps, i = 0 .. steps - 1; i = 0 keeps the range
  double max_shrink = 0.5;
  std::int64_t max_tokens = 4096;
};

struct ClipReport {
  std::int64_t groups = 0, clipped = 0;   // row groups seen, and those whose range was shrunk
  double error = 0, unclipped_error = 0;  // sum over groups of the squared error of the partial output, per token
};

// Whether the linear's output reaches the scores of an attention through rotary positions and norms alone (q and k):
// its errors are not additive in the output, so clipping it is left out.
bool feeds_scores(const Graph& graph, int linear_op);

// Clamps `weight` [rows, cols] in place for inputs like x [tokens, cols]. A group's error is d^T (X^T X) d with
// d = Q(clamp(w)) - w over all tokens when it has at most 512 columns, else over 512 tokens spread evenly.
// Grids with one range for the tensor are left alone.
ClipReport clip_weight(Matrix<float> weight, Matrix<const float> x, const Grid& grid, const Range& range,
                       const ClipOptions& options);

}  // namespace vernier::awq
