// Routing of tokens to experts. A routing is [tokens, 2 * top_k]: expert ids by falling weight, then their weights.
#pragma once

#include <span>

#include "arch/graph.h"
#include "runtime/executor.h"
#include "vernier/tensor.h"

namespace vernier {

// Softmax over the logits of all experts, then the op.top_k largest (ties to the lower expert); op.renormalize makes
// the chosen weights sum to 1.
Buffer route(const Op& op, Matrix<const float> logits);

// Rows of x that `routing` sends to `expert`, in token order; possibly none.
Buffer gather(std::int32_t expert, Matrix<const float> x, Matrix<const float> routing);

// [tokens, width]: for each token the sum of weight * output over its experts, in rising order of experts.
// outputs[e] has the rows that gather(e) selected.
Buffer combine(Matrix<const float> routing, std::span<const Matrix<const float>> outputs, std::int64_t width);

}  // namespace vernier
