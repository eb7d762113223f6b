#include "methods/percentile_smooth/smooth.h"

#include <algorithm>
#include <functional>

namespace vernier::percentile_smooth {
namespace {
constexpr float least_threshold = 1e-4f;
}

float threshold(std::span<const float> amax, double fraction) {
  if (amax.empty()) return 0;
  std::vector<float> sorted(amax.begin(), amax.end());
  const auto rank = static_cast<std::size_t>(fraction * static_cast<double>(sorted.size()) + 1.5);
  const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(std::min(rank, sorted.size()) - 1);
  std::nth_element(sorted.begin(), place, sorted.end(), std::greater<>());
  return *place;
}

std::vector<float> smooth_factor(std::span<const float> amax, double fraction) {
  std::vector<float> factor(amax.size(), 1.0f);
  const float t = threshold(amax, fraction);
  if (t < least_threshold) return factor;
  for (std::size_t j = 0; j < factor.size(); ++j) factor[j] = std::max(1.0f, amax[j] / t);
  return factor;
}

}  // namespace vernier::percentile_smooth
