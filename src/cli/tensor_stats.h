// Statistics of a tensor that is read a few rows at a time, so that its size does not matter.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace vernier {

struct TensorRows {
  std::int64_t rows = 0, cols = 0;
  std::function<void(std::int64_t first, std::int64_t count, float* out)> read;  // out [count, cols]; thread-safe
};

// Over finite values; the others are counted.
struct TensorStats {
  std::int64_t elements = 0, nonfinite = 0;
  double min = 0, max = 0, absmax = 0;
  double mean = 0, rms = 0, deviation = 0;
  double kurtosis = 0;        // fourth central moment over squared variance: 3 for a normal distribution
  std::int64_t outliers = 0;  // further than 6 deviations from the mean
};
TensorStats tensor_stats(const TensorRows& tensor);

// Counts of finite values in equal bins over [low, high].
struct Histogram {
  double low = 0, high = 0;
  std::vector<std::int64_t> counts;
};
Histogram histogram(const TensorRows& tensor, const TensorStats& stats, int bins);

// The absolute maxima of groups of `group` columns: what a quantizer's scales follow.
struct GroupRanges {
  std::int64_t groups = 0;
  double min = 0, median = 0, max = 0;
};
GroupRanges group_ranges(const TensorRows& tensor, std::int64_t group);

}  // namespace vernier
