#include "kernels/hadamard/hadamard.h"

namespace vernier::kernels {

void butterflies_scalar(float* x, std::int64_t n, float scale) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= scale;
  for (std::int64_t h = 1; h < n; h *= 2)
    for (std::int64_t first = 0; first < n; first += 2 * h)
      for (std::int64_t i = first; i < first + h; ++i) {
        const float u = x[i], v = x[i + h];
        x[i] = u + v;
        x[i + h] = u - v;
      }
}

}  // namespace vernier::kernels
