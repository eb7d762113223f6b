// The plainest form of the ops that have a faster one: what tests hold the fast one to.
#pragma once

#include "kernels/ops.h"

namespace vernier::kernels::reference {

void linear(Matrix<const float> x, const WeightMatrix& weight, std::span<const float> bias, Matrix<float> y);
void attention(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const AttentionShape& shape,
               Matrix<float> out);

}  // namespace vernier::kernels::reference
