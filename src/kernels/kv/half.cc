#include "kernels/kv/half.h"

#include "kernels/isa.h"
#include "tensor/convert.h"

namespace vernier::kernels {
namespace {

void widen_scalar(const std::uint16_t* half, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = f16_to_float(half[i]);
}

void narrow_scalar(const float* in, std::int64_t n, std::uint16_t* half) {
  for (std::int64_t i = 0; i < n; ++i) half[i] = float_to_f16(in[i]);
}

}  // namespace

Widen widen_kernel() { return pick<widen_scalar, widen_avx2, widen_avx2>(); }
Narrow narrow_kernel() { return pick<narrow_scalar, narrow_avx2, narrow_avx2>(); }

}  // namespace vernier::kernels
