#include "kernels/attention/softmax.h"

#include <algorithm>
#include <array>

#include "kernels/exp/exponential.h"
#include "kernels/isa.h"
#include "kernels/kv/page.h"

namespace vernier::kernels {
namespace {

constexpr int kLanes = 16;
constexpr int kTokens = static_cast<int>(kPageTokens);
static_assert(kTokens == 2 * kLanes);
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// All loops run over the whole page, so that a row's sums have one order wherever its keys end.
VN_INLINE float absorb_body(float* scores, std::int64_t first, std::int64_t last, const ValueParams& value,
                            SoftmaxState& state, float* out, std::int64_t width) {
  const auto low = static_cast<std::int32_t>(first), high = static_cast<std::int32_t>(last);
  if (high - low < kTokens)
    for (std::int32_t t = 0; t < kTokens; ++t) scores[t] = t >= low && t < high ? scores[t] : -kInfinity;
  std::array<float, kLanes> lanes;
  for (int t = 0; t < kLanes; ++t) lanes[t] = scores[t] > scores[t + kLanes] ? scores[t] : scores[t + kLanes];
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int t = 0; t < step; ++t) lanes[t] = lanes[t] > lanes[t + step] ? lanes[t] : lanes[t + step];
  if (lanes[0] > state.maximum) {
    if (state.sum > 0) {
      const float shrink = exponential(state.maximum - lanes[0]);
      state.sum *= shrink;
      for (std::int64_t c = 0; c < width; ++c) out[c] *= shrink;
    }
    state.maximum = lanes[0];
  }
  const float maximum = state.maximum;
  for (int t = 0; t < kTokens; ++t) scores[t] = exponential(scores[t] - maximum);
  for (int t = 0; t < kLanes; ++t) lanes[t] = scores[t] + scores[t + kLanes];
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int t = 0; t < step; ++t) lanes[t] += lanes[t + step];
  state.sum += lanes[0];

  if (!value.scale) return 0;
  float offset = 0;
  if (value.minimum) {  // tokens that were never written have garbage parameters
    for (std::int32_t t = 0; t < kLanes; ++t) {
      const float a = t >= low && t < high ? scores[t] * value.minimum[t] : 0;
      const std::int32_t u = t + kLanes;
      const float b = u >= low && u < high ? scores[u] * value.minimum[u] : 0;
      lanes[t] = a + b;
    }
    for (int step = kLanes / 2; step > 0; step /= 2)
      for (int t = 0; t < step; ++t) lanes[t] += lanes[t + step];
    offset = lanes[0];
  }
  for (std::int32_t t = 0; t < kTokens; ++t) scores[t] = t >= low && t < high ? scores[t] * value.scale[t] : 0;
  return offset;
}

float absorb_scalar(float* scores, std::int64_t first, std::int64_t last, const ValueParams& value, SoftmaxState& state,
                    float* out, std::int64_t width) {
  return absorb_body(scores, first, last, value, state, out, width);
}
VN_TARGET_AVX2 float absorb_avx2(float* scores, std::int64_t first, std::int64_t last, const ValueParams& value,
                                 SoftmaxState& state, float* out, std::int64_t width) {
  return absorb_body(scores, first, last, value, state, out, width);
}

}  // namespace

Absorb absorb_kernel() { return pick<absorb_scalar, absorb_avx2, absorb_avx512>(); }

void merge(SoftmaxState& state, float* out, const SoftmaxState& other, const float* other_out, std::int64_t width) {
  if (other.sum == 0) return;
  if (state.sum == 0) {
    state = other;
    std::copy_n(other_out, width, out);
    return;
  }
  const float maximum = std::max(state.maximum, other.maximum);
  const float mine = exponential(state.maximum - maximum), theirs = exponential(other.maximum - maximum);
  state.sum = state.sum * mine + other.sum * theirs;
  state.maximum = maximum;
  for (std::int64_t c = 0; c < width; ++c) out[c] = out[c] * mine + other_out[c] * theirs;
}

}  // namespace vernier::kernels
