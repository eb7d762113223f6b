#include <cmath>
#include <vector>

#include "base/threads.h"
#include "kernels/ops.h"

namespace vernier::kernels {

void rope(Matrix<float> x, std::span<const std::int64_t> positions, std::span<const float> inverse_frequency,
          float magnitude, std::int64_t head_dim) {
  constexpr std::int64_t kGrainRows = 16;
  const std::int64_t half = head_dim / 2;
  parallel_ranges(x.rows, kGrainRows, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> cosine(half), sine(half);
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t j = 0; j < half; ++j) {
        const float angle = static_cast<float>(positions[row]) * inverse_frequency[j];
        cosine[j] = std::cos(angle) * magnitude;
        sine[j] = std::sin(angle) * magnitude;
      }
      for (float* head = x.row(row); head < x.row(row) + x.cols; head += head_dim) {
        for (std::int64_t j = 0; j < half; ++j) {
          const float a = head[j], b = head[j + half];
          head[j] = a * cosine[j] - b * sine[j];
          head[j + half] = b * cosine[j] + a * sine[j];
        }
      }
    }
  });
}

}  // namespace vernier::kernels
