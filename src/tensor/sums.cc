#include "tensor/sums.h"

#include <cstdint>

#include "base/vectorize.h"

namespace vernier {
namespace {

constexpr int lanes = 16;  // sums kept side by side, whatever the vector width

template <class Value>
inline __attribute__((always_inline)) double sum_of(std::int64_t count, Value value) {
  double sum[lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int l = 0; l < lanes; ++l) {
      const double x = value(i + l);
      sum[l] += x * x;
    }
  for (; i < count; ++i) {
    const double x = value(i);
    sum[0] += x * x;
  }
  double total = 0;
  for (int l = 0; l < lanes; ++l) total += sum[l];
  return total;
}

VN_VECTORIZED double squares(const float* values, std::int64_t count) {
  return sum_of(count, [values](std::int64_t i) { return values[i]; });
}

VN_VECTORIZED double squared_differences(const float* a, const float* b, std::int64_t count) {
  return sum_of(count, [a, b](std::int64_t i) { return a[i] - b[i]; });
}

}  // namespace

double sum_of_squares(std::span<const float> values) {
  return squares(values.data(), static_cast<std::int64_t>(values.size()));
}

double sum_of_squared_differences(std::span<const float> a, std::span<const float> b) {
  return squared_differences(a.data(), b.data(), static_cast<std::int64_t>(a.size()));
}

}  // namespace vernier
