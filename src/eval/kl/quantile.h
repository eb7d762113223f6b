#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace vernier {

// The q-quantile (0 <= q <= 1) of `values`, linear between order statistics; reorders them. NaN when there are none.
inline double quantile(std::vector<float>& values, double q) {
  if (values.empty()) return std::nan("");
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const double share = position - static_cast<double>(below);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(values.begin(), at, values.end());
  const double low = *at;
  if (share == 0) return low;
  const double high = *std::min_element(at + 1, values.end());
  return low + share * (high - low);
}

}  // namespace vernier
