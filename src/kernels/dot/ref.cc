#include "kernels/dot/dot.h"
#include "kernels/isa.h"

namespace vernier::kernels {

float dot_scalar(const float* a, const float* b, std::int64_t n) {
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

Dot dot_kernel() {
  if constexpr (kArm)
    if (best_isa() != Isa::scalar) return dot_neon;
  return pick<dot_scalar, dot_avx2, dot_avx512>();
}

}  // namespace vernier::kernels
