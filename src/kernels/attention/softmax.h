// The online softmax (Milakov and Gimelshein 2018) of one query row, a page of keys at a time; partial results of
// disjoint keys are merged as in flash decoding (Dao et al. 2023).
#pragma once

#include <cstdint>
#include <limits>

namespace vernier::kernels {

// Over the keys seen so far: the largest score, and the sum of exp(score - maximum). sum 0: nothing seen.
struct SoftmaxState {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

// What a page's values are multiplied with beside the weights, [kPageTokens]; null for none.
struct ValueParams {
  const float *scale = nullptr, *minimum = nullptr;
};

// Turns the scores of a page into weights relative to the row's running maximum, 0 outside of tokens [first, last)
// (first < last), and scales out [width], a multiple of 16, where the maximum grew. The weights are multiplied by
// value.scale; returns the sum of weight * value.minimum.
using Absorb = float (*)(float* scores, std::int64_t first, std::int64_t last, const ValueParams& value,
                         SoftmaxState& state, float* out, std::int64_t width);
Absorb absorb_kernel();
float absorb_avx512(float* scores, std::int64_t first, std::int64_t last, const ValueParams& value, SoftmaxState& state,
                    float* out, std::int64_t width);

// (state, out) becomes that of both sets of keys.
void merge(SoftmaxState& state, float* out, const SoftmaxState& other, const float* other_out, std::int64_t width);

}  // namespace vernier::kernels
