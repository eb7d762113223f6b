// What the engine learns of a group's input while calibration tokens pass: its range and its Hessian.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "methods/hessian.h"
#include "methods/method.h"
#include "vernier/recipe.h"

namespace vernier {

// Extremes and, for percentiles, counts of values by the upper 16 bits of their float pattern: exact for bf16 values,
// within 2^-7 of the value for f32. Counts are integers, so neither order nor threads matter.
class RangeStatistics {
 public:
  explicit RangeStatistics(bool percentiles) : counts_(percentiles ? std::size_t{1} << 16 : 0) {}

  void add(Matrix<const float> x);
  void merge(const RangeStatistics& other);
  bool empty() const { return low_ > high_; }

  // `spec` with its static scale and zero point.
  ActivationSpec calibrate(ActivationSpec spec, const ActivationRecipe& recipe) const;

 private:
  struct Trimmed {
    float low, high, absmax;  // low <= 0 <= high
  };
  // What is left when 1 - share of the counted values is cut off at each end, and of their magnitudes.
  Trimmed trim(double share) const;

  float low_ = std::numeric_limits<float>::infinity(), high_ = -std::numeric_limits<float>::infinity();
  std::vector<std::uint64_t> counts_;  // [65536] in rising order of the value, or empty
};

// H <- (tokens H + tau pool) / (tokens + tau) with tau = 0.1 columns: an expert that saw few tokens borrows from all
// tokens, one that saw none takes the pool (handbook, rounding, 8.5). Both are finished, unless tokens is 0.
void shrink_to_pool(Hessian& hessian, const Hessian& pool);

// Sums of squares of each column, in token order.
class SquareSums {
 public:
  explicit SquareSums(std::int64_t width) : sums_(static_cast<std::size_t>(width)) {}
  void add(Matrix<const float> x);
  const std::vector<double>& sums() const { return sums_; }
  std::int64_t tokens() const { return tokens_; }

 private:
  std::vector<double> sums_;
  std::int64_t tokens_ = 0;
};

// Mean squares of an input. An expert's are shrunk towards its pool's as shrink_to_pool() does; `pool` may be null.
std::vector<float> mean_squares(const SquareSums& own, const SquareSums* pool);

// Streaming per-channel statistics, reduced in token order.
class ChannelAccumulator {
 public:
  explicit ChannelAccumulator(std::int64_t width);
  void add(Matrix<const float> x);
  ChannelStats finish() const;

 private:
  std::vector<float> low_, high_;
  std::vector<double> sum_abs_;
  std::int64_t tokens_ = 0;
};

}  // namespace vernier
