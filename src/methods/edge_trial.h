// What a factor on an edge would cost: the error that quantizing the edge's consumers causes in the output they lead
// to, measured on captured tokens (handbook, transforms, 1, B5). Nothing in the block changes.
#pragma once

#include <memory>
#include <span>

#include "arch/edges.h"
#include "methods/method.h"

namespace vernier {

// The value whose error counts: the branch a norm feeds, as it is added to the residual stream; the consumer's own
// output for other edges.
ValueId inspected_value(const Graph& graph, const ScaleEdge& edge);

// w as rounding to nearest on `grid` stores it. out may be w.
void quantize_dequantize(Matrix<const float> w, const Grid& grid, const Range& range, Matrix<float> out);

class EdgeTrial {
 public:
  // Captures the edge's input and the inspected value of up to `max_tokens` tokens, with the block's current weights.
  static Result<EdgeTrial> make(BlockContext& block, const ScaleEdge& edge, std::int64_t max_tokens);

  std::int64_t tokens() const { return tokens_; }

  // Mean squared error of the inspected value when the consumers hold Q(W diag(factor)) and read x / factor, through
  // their activation quantizers where the recipe has them. factor [edge.channels]. Same result at any thread count.
  Result<double> loss(std::span<const float> factor);

  // Bytes of one trial on `tokens` tokens: captured values, the values between them, candidate weights.
  static std::int64_t working_bytes(const Graph& graph, const ScaleEdge& edge, std::int64_t tokens);

 private:
  EdgeTrial(BlockContext& block, const ScaleEdge& edge, Capture capture, ValueId target);
  Result<WeightTable> candidate_weights(std::span<const float> columns, Matrix<const float> x);

  BlockContext* block_;
  const ScaleEdge* edge_;
  Capture capture_;
  ValueId target_;
  std::int64_t tokens_ = 0;
};

}  // namespace vernier
