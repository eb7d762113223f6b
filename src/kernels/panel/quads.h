// Four-way dot products in registers of 256 bits, which exist in two encodings: that of AVX-VNNI, and that of AVX-512
// VNNI, by which the tests reach this code on CPUs that have only the latter. The file that includes this defines
// VN_TARGET_HALF and VN_DPBUSD(sum, unsigned, signed).
#pragma once

#include "kernels/panel/half_panel.h"

namespace vernier::kernels {
namespace {

struct Quads {
  template <int bits, int T, int quad = 0>
  static VN_INLINE_HALF void add_step(const std::uint8_t* step, const std::int8_t* x, __m256i (&sum)[T]) {
    constexpr int block = T == 1 ? 1 : 4;  // of x
    __m256i w;
    if constexpr (bits == 8)
      w = half_line(step, quad);
    else
      w = operand<bits, quad>(step);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) sum[t] = VN_DPBUSD(sum[t], w, broadcast(x + 4 * quad * block + 4 * t));
    if constexpr (quad + 1 < kQuads) add_step<bits, T, quad + 1>(step, x, sum);
  }
};

}  // namespace
}  // namespace vernier::kernels
