// Rows of floats to 8-bit codes. One body, compiled for each instruction set without contraction: the same codes on
// every CPU.
#pragma once

#include <cstdint>

namespace vernier::kernels {

struct Extremes {
  float low, high;
};
// Of n >= 1 values; NaNs are passed over unless x[0] is one.
using FindExtremes = Extremes (*)(const float* x, std::int64_t n);

// codes[i] = (x[i] - shift) * factor rounded to the nearest integer, ties to even, within [low, high] of a byte; low
// for a NaN. Returns the codes' sum.
struct CodeRange {
  float shift = 0, factor = 0, low = 0, high = 0;
};
using Encode = std::int32_t (*)(const float* x, std::int64_t n, const CodeRange& range, std::int8_t* codes);

FindExtremes find_extremes_kernel();
Encode encode_kernel();

inline float inverse_or_zero(float scale) { return scale > 0 ? 1 / scale : 0; }

}  // namespace vernier::kernels
