#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference.h"

namespace vernier::kernels::reference {

void attention(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const AttentionShape& shape,
               Matrix<float> out) {
  const std::int64_t width = shape.head_dim;
  for (std::int64_t i = 0; i < q.rows; ++i) {
    const std::int64_t last = shape.start + i;
    const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(last - shape.window + 1, 0) : 0;
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      const std::int64_t kv = head / (shape.heads / shape.kv_heads) * width;
      std::vector<double> weight(last + 1);
      double maximum = -1e300, sum = 0;
      for (std::int64_t key = first; key <= last; ++key) {
        for (std::int64_t c = 0; c < width; ++c)
          weight[key] += static_cast<double>(q(i, head * width + c)) * k(key, kv + c);
        weight[key] *= shape.scale;
        maximum = std::max(maximum, weight[key]);
      }
      for (std::int64_t key = first; key <= last; ++key) sum += weight[key] = std::exp(weight[key] - maximum);
      for (std::int64_t c = 0; c < width; ++c) {
        double value = 0;
        for (std::int64_t key = first; key <= last; ++key) value += weight[key] / sum * v(key, kv + c);
        out(i, head * width + c) = static_cast<float>(value);
      }
    }
  }
}

}  // namespace vernier::kernels::reference
