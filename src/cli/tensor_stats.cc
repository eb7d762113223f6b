#include "cli/tensor_stats.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"

namespace vernier {
namespace {

constexpr std::int64_t chunk_elements = 1 << 18;

std::int64_t chunk_rows(const TensorRows& tensor) {
  return std::max<std::int64_t>(1, chunk_elements / std::max<std::int64_t>(1, tensor.cols));
}

std::int64_t chunk_count(const TensorRows& tensor) {
  const std::int64_t step = chunk_rows(tensor);
  return (tensor.rows + step - 1) / step;
}

// visit(chunk, first row, values) for every chunk of rows, on all workers. Chunks do not depend on the thread count.
template <class Visit>
void for_chunks(const TensorRows& tensor, const Visit& visit) {
  const std::int64_t step = chunk_rows(tensor);
  parallel_for(chunk_count(tensor), [&](std::int64_t chunk) {
    const std::int64_t first = chunk * step, count = std::min(step, tensor.rows - first);
    std::vector<float> values(count * tensor.cols);
    tensor.read(first, count, values.data());
    visit(chunk, first, values);
  });
}

struct Moments {
  std::int64_t finite = 0, nonfinite = 0;
  double min = INFINITY, max = -INFINITY;
  double sums[4] = {};  // of x, x^2, x^3, x^4

  void add(float value) {
    if (!std::isfinite(value)) {
      ++nonfinite;
      return;
    }
    ++finite;
    const double x = value, square = x * x;
    min = std::min(min, x);
    max = std::max(max, x);
    sums[0] += x;
    sums[1] += square;
    sums[2] += square * x;
    sums[3] += square * square;
  }
  void add(const Moments& other) {
    finite += other.finite;
    nonfinite += other.nonfinite;
    min = std::min(min, other.min);
    max = std::max(max, other.max);
    for (int k = 0; k < 4; ++k) sums[k] += other.sums[k];
  }
};

TensorStats finish(const Moments& moments) {
  TensorStats stats;
  stats.elements = moments.finite + moments.nonfinite;
  stats.nonfinite = moments.nonfinite;
  if (moments.finite == 0) return stats;
  const double n = static_cast<double>(moments.finite);
  const double m1 = moments.sums[0] / n, m2 = moments.sums[1] / n, m3 = moments.sums[2] / n, m4 = moments.sums[3] / n;
  const double variance = std::max(0.0, m2 - m1 * m1);
  const double fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1 * m1 * m1 * m1;
  stats.min = moments.min;
  stats.max = moments.max;
  stats.absmax = std::max(std::abs(stats.min), std::abs(stats.max));
  stats.mean = m1;
  stats.rms = std::sqrt(m2);
  stats.deviation = std::sqrt(variance);
  stats.kurtosis = variance > 0 ? fourth / (variance * variance) : 0;
  return stats;
}

}  // namespace

TensorStats tensor_stats(const TensorRows& tensor) {
  std::vector<Moments> parts(chunk_count(tensor));
  for_chunks(tensor, [&](std::int64_t chunk, std::int64_t, const std::vector<float>& values) {
    for (const float value : values) parts[chunk].add(value);
  });
  Moments whole;
  for (const Moments& part : parts) whole.add(part);
  TensorStats stats = finish(whole);
  constexpr double outlier_deviations = 6;
  const double limit = outlier_deviations * stats.deviation;
  if (stats.deviation == 0 || stats.absmax + std::abs(stats.mean) <= limit) return stats;
  std::vector<std::int64_t> outliers(parts.size());
  for_chunks(tensor, [&](std::int64_t chunk, std::int64_t, const std::vector<float>& values) {
    for (const float value : values) outliers[chunk] += std::isfinite(value) && std::abs(value - stats.mean) > limit;
  });
  for (const std::int64_t count : outliers) stats.outliers += count;
  return stats;
}

Histogram histogram(const TensorRows& tensor, const TensorStats& stats, int bins) {
  Histogram result{stats.min, stats.max, std::vector<std::int64_t>(bins)};
  const double scale = stats.max > stats.min ? bins / (stats.max - stats.min) : 0;
  std::vector<std::vector<std::int64_t>> parts(chunk_count(tensor), std::vector<std::int64_t>(bins));
  for_chunks(tensor, [&](std::int64_t chunk, std::int64_t, const std::vector<float>& values) {
    for (const float value : values) {
      if (!std::isfinite(value)) continue;
      const auto bin = static_cast<int>((value - stats.min) * scale);
      ++parts[chunk][std::clamp(bin, 0, bins - 1)];
    }
  });
  for (const auto& part : parts) {
    for (int bin = 0; bin < bins; ++bin) result.counts[bin] += part[bin];
  }
  return result;
}

GroupRanges group_ranges(const TensorRows& tensor, std::int64_t group) {
  const std::int64_t per_row = (tensor.cols + group - 1) / group;
  std::vector<float> ranges(tensor.rows * per_row);
  for_chunks(tensor, [&](std::int64_t, std::int64_t first, const std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t row = first + static_cast<std::int64_t>(i) / tensor.cols;
      const std::int64_t column = static_cast<std::int64_t>(i) % tensor.cols;
      float& range = ranges[row * per_row + column / group];
      range = std::max(range, std::abs(values[i]));
    }
  });
  GroupRanges result;
  result.groups = static_cast<std::int64_t>(ranges.size());
  if (ranges.empty()) return result;
  std::sort(ranges.begin(), ranges.end());
  result.min = ranges.front();
  result.median = ranges[ranges.size() / 2];
  result.max = ranges.back();
  return result;
}

}  // namespace vernier
