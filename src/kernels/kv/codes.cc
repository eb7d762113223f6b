#include "kernels/kv/codes.h"

#include <bit>

#include "kernels/isa.h"

namespace vernier::kernels {
namespace {

constexpr int kLanes = 16;

VN_INLINE Extremes extremes_body(const float* x, std::int64_t n) {
  float low[kLanes], high[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) low[lane] = high[lane] = x[0];
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) low[lane] = x[i + lane] < low[lane] ? x[i + lane] : low[lane];
    for (int lane = 0; lane < kLanes; ++lane) high[lane] = x[i + lane] > high[lane] ? x[i + lane] : high[lane];
  }
  for (int lane = 0; i < n; ++i, ++lane) {
    low[lane] = x[i] < low[lane] ? x[i] : low[lane];
    high[lane] = x[i] > high[lane] ? x[i] : high[lane];
  }
  Extremes found{low[0], high[0]};
  for (int lane = 1; lane < kLanes; ++lane) {
    found.low = low[lane] < found.low ? low[lane] : found.low;
    found.high = high[lane] > found.high ? high[lane] : found.high;
  }
  return found;
}

VN_INLINE std::int32_t encode_body(const float* x, std::int64_t n, const CodeRange& range, std::int8_t* codes) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low mantissa bits
  const CodeRange r = range;
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    float y = (x[i] - r.shift) * r.factor;
    y = y > r.low ? y : r.low;
    y = y < r.high ? y : r.high;
    const std::int32_t code = std::bit_cast<std::int32_t>(y + kRound) - std::bit_cast<std::int32_t>(kRound);
    codes[i] = static_cast<std::int8_t>(code);
    sum += code;
  }
  return sum;
}

Extremes extremes_scalar(const float* x, std::int64_t n) { return extremes_body(x, n); }
VN_TARGET_AVX2 Extremes extremes_avx2(const float* x, std::int64_t n) { return extremes_body(x, n); }
VN_TARGET_AVX512 Extremes extremes_avx512(const float* x, std::int64_t n) { return extremes_body(x, n); }

std::int32_t encode_scalar(const float* x, std::int64_t n, const CodeRange& range, std::int8_t* codes) {
  return encode_body(x, n, range, codes);
}
VN_TARGET_AVX2 std::int32_t encode_avx2(const float* x, std::int64_t n, const CodeRange& range, std::int8_t* codes) {
  return encode_body(x, n, range, codes);
}
VN_TARGET_AVX512 std::int32_t encode_avx512(const float* x, std::int64_t n, const CodeRange& range,
                                            std::int8_t* codes) {
  return encode_body(x, n, range, codes);
}

}  // namespace

FindExtremes find_extremes_kernel() { return pick<extremes_scalar, extremes_avx2, extremes_avx512>(); }
Encode encode_kernel() { return pick<encode_scalar, encode_avx2, encode_avx512>(); }

}  // namespace vernier::kernels
