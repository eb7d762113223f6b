#include "formats/range.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/fail.h"
#include "base/threads.h"
#include "base/vectorize.h"
#include "formats/row_search.h"

namespace vernier {
namespace {

// Independent sums or extrema that a loop keeps side by side: a fixed number, so that results do not depend on the
// vector width that runs them.
constexpr int lanes = 16;

constexpr std::int64_t fit_rows_at_once = 32;  // by one worker

struct Extent {
  float low = 0, high = 0;  // low <= 0 <= high
};

VN_VECTORIZED Extent extent(const float* values, std::int64_t count) {
  float low[lanes] = {}, high[lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int l = 0; l < lanes; ++l) {
      low[l] = values[i + l] < low[l] ? values[i + l] : low[l];
      high[l] = values[i + l] > high[l] ? values[i + l] : high[l];
    }
  for (; i < count; ++i) {
    low[0] = values[i] < low[0] ? values[i] : low[0];
    high[0] = values[i] > high[0] ? values[i] : high[0];
  }
  return {*std::min_element(low, low + lanes), *std::max_element(high, high + lanes)};
}

// x^p for 0 <= x <= 2 and p > 0, about 1e-6 relative; below 2^-125 it gives 0. Branch-free, so that loops of it
// vectorise: log2 by the odd series of atanh on a mantissa in [sqrt(1/2), sqrt(2)), exp2 by its Taylor polynomial.
inline float power(float x, float p) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t exponent = (bits - 0x3F3504F3) >> 23;  // of x / sqrt(1/2)
  const float m = std::bit_cast<float>(bits - (exponent << 23));
  const float s = (m - 1) / (m + 1), s2 = s * s;
  const float log2m = s * (2.8853901f + s2 * (0.96179669f + s2 * (0.57707802f + s2 * 0.41219859f)));
  float y = p * (static_cast<float>(exponent) + log2m);
  y = y > -126.0f ? y : -126.0f;
  y = y < 126.0f ? y : 126.0f;
  const float k = std::rint(y), f = y - k;
  const float exp2f =
      1 + f * (0.69314718f +
               f * (0.24022651f + f * (0.05550411f + f * (0.00961813f + f * (0.00133336f + f * 0.00015404f)))));
  const float result = std::bit_cast<float>(std::bit_cast<std::int32_t>(exp2f) + (static_cast<std::int32_t>(k) << 23));
  return y > -125.0f ? result : 0.0f;
}

// Sum over all values of term(importance, unit * (value - decoded)).
template <class Term>
inline __attribute__((always_inline)) double sum_of(const float* values, const float* decoded, const float* importance,
                                                    std::int64_t count, float unit, Term term) {
  constexpr std::int64_t block = 256 * lanes;  // single-precision sums stay this short
  double total = 0;
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t last = first + block < count ? first + block : count;
    float sum[lanes] = {};
    std::int64_t i = first;
    for (; i + lanes <= last; i += lanes)
      for (int l = 0; l < lanes; ++l) sum[l] += term(importance[i + l], (values[i + l] - decoded[i + l]) * unit);
    for (; i < last; ++i) sum[0] += term(importance[i], (values[i] - decoded[i]) * unit);
    for (int l = 0; l < lanes; ++l) total += sum[l];
  }
  return total;
}

// sum of importance * |error|^norm.
VN_VECTORIZED double error_sum(const float* values, const float* decoded, const float* importance, std::int64_t count,
                               float unit, float norm) {
  return sum_of(values, decoded, importance, count, unit,
                [norm](float weight, float error) { return weight * power(std::fabs(error), norm); });
}

// error_sum for norm 2.
VN_VECTORIZED double square_sum(const float* values, const float* decoded, const float* importance, std::int64_t count,
                                float unit) {
  return sum_of(values, decoded, importance, count, unit,
                [](float weight, float error) { return weight * error * error; });
}

class MinMaxRange final : public Range {
 public:
  void fit(const Grid& grid, std::span<const float> values, std::span<const float>,
           std::span<float> params) const override {
    const Extent e = extent(values.data(), static_cast<std::int64_t>(values.size()));
    grid.params_from_range(e.low, e.high, params);
  }
};

// The value below which `percent` of `values` lie, linear between order statistics. Reorders `values`.
float percentile_of(std::vector<float>& values, double percent) {
  const double position = percent / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  std::nth_element(values.begin(), values.begin() + below, values.end());
  const float at = values[below];
  if (below + 1 == values.size()) return at;
  const float next = *std::min_element(values.begin() + below + 1, values.end());
  return at + static_cast<float>(position - static_cast<double>(below)) * (next - at);
}

// Symmetric grids cut |w| at the percentile; asymmetric ones cut half of the rest off each tail.
class PercentileRange final : public Range {
 public:
  explicit PercentileRange(double percentile) : percentile_(percentile) {}

  void fit(const Grid& grid, std::span<const float> values, std::span<const float>,
           std::span<float> params) const override {
    std::vector<float> sorted(values.begin(), values.end());
    if (sorted.empty()) return grid.params_from_range(0, 0, params);
    if (grid.spec().symmetric) {
      for (float& v : sorted) v = std::fabs(v);
      const float high = percentile_of(sorted, percentile_);
      return grid.params_from_range(-high, high, params);
    }
    const double tail = (100 - percentile_) / 2;
    const float low = percentile_of(sorted, tail), high = percentile_of(sorted, 100 - tail);
    grid.params_from_range(std::min(low, 0.0f), std::max(high, 0.0f), params);
  }

 private:
  double percentile_;
};

// The min-max range shrunk by p = 1 - i / grid, whichever p gives the least sum of |error|^norm. p = 1 is among them,
// so the result is never worse than min-max; every p is tried (no patience), so groups do not depend on each other.
class MseRange final : public Range {
 public:
  explicit MseRange(const RangeSpec& spec) : spec_(spec) {}

  void fit(const Grid& grid, std::span<const float> values, std::span<const float> importance,
           std::span<float> params) const override {
    const auto count = static_cast<std::int64_t>(values.size());
    const Extent e = extent(values.data(), count);
    grid.params_from_range(e.low, e.high, params);
    const float absmax = std::max(-e.low, e.high);
    if (absmax < 1e-30f) return;  // nothing to gain, and 1 / absmax would overflow
    std::vector<float> scratch(values.size() + params.size() + (importance.empty() ? values.size() : 0), 1.0f);
    const std::span<float> decoded(scratch.data(), values.size()), trial(decoded.data() + count, params.size());
    const float* weights = importance.empty() ? trial.data() + trial.size() : importance.data();
    std::vector<std::uint8_t> codes(values.size());
    const float unit = 1 / absmax, norm = static_cast<float>(spec_.norm);
    double best = std::numeric_limits<double>::infinity();
    const int candidates = std::max(1, static_cast<int>(spec_.max_shrink * spec_.grid));
    for (int i = 0; i < candidates; ++i) {
      const float p = 1 - static_cast<float>(i) / static_cast<float>(spec_.grid);
      grid.params_from_range(p * e.low, p * e.high, trial);
      grid.encode(values, trial, codes, decoded);
      const double error = norm == 2 ? square_sum(values.data(), decoded.data(), weights, count, unit)
                                     : error_sum(values.data(), decoded.data(), weights, count, unit, norm);
      if (error >= best) continue;
      best = error;
      std::copy(trial.begin(), trial.end(), params.begin());
    }
  }

 private:
  RangeSpec spec_;
};

// The grid's own search; grids without one take the MSE range.
class SearchRange final : public Range {
 public:
  explicit SearchRange(const RangeSpec& spec) : otherwise_(spec) {}

  void fit(const Grid& grid, std::span<const float> values, std::span<const float> importance,
           std::span<float> params) const override {
    if (!grid.fit(values, importance, params)) otherwise_.fit(grid, values, importance, params);
  }

  bool fit_row(const Grid& grid, std::span<const float> row, std::span<const float> importance,
               std::span<float> params) const override {
    const auto* const search = dynamic_cast<const RowSearch*>(&grid);
    if (search) search->search_row(row, importance, params);
    return search != nullptr;
  }

 private:
  MseRange otherwise_;
};

}  // namespace

Result<std::unique_ptr<Range>> make_range(const RangeSpec& spec) {
  if (spec.method == "minmax") return std::unique_ptr<Range>(std::make_unique<MinMaxRange>());
  if (spec.method == "percentile") {
    if (!(spec.percentile > 0 && spec.percentile <= 100))
      return fail(ErrorCode::invalid, "range percentile must be in (0, 100], found {}", spec.percentile);
    return std::unique_ptr<Range>(std::make_unique<PercentileRange>(spec.percentile));
  }
  if (spec.method == "mse" || spec.method == "search") {
    if (spec.grid < 1 || spec.grid > 10000)
      return fail(ErrorCode::invalid, "range mse: grid must be 1 to 10000, found {}", spec.grid);
    if (!(spec.max_shrink >= 0 && spec.max_shrink < 1))
      return fail(ErrorCode::invalid, "range mse: max_shrink must be in [0, 1), found {}", spec.max_shrink);
    if (!(spec.norm > 0 && spec.norm <= 16))
      return fail(ErrorCode::invalid, "range mse: norm must be in (0, 16], found {}", spec.norm);
    if (spec.method == "search") return std::unique_ptr<Range>(std::make_unique<SearchRange>(spec));
    return std::unique_ptr<Range>(std::make_unique<MseRange>(spec));
  }
  return with_hint(fail(ErrorCode::not_found, "unknown range '{}'", spec.method),
                   "known ranges: minmax, percentile, mse, search");
}

void fit_row(const Grid& grid, const Range& range, std::span<const float> row, std::span<const float> importance,
             std::span<float> params) {
  if (range.fit_row(grid, row, importance, params)) return;
  const auto cols = static_cast<std::int64_t>(row.size()), group = grid.group_columns(cols);
  const int count = grid.params_per_group();
  for (std::int64_t g = 0; g < grid.groups(cols); ++g) {
    const std::int64_t first = g * group, width = std::min(group, cols - first);
    range.fit(grid, row.subspan(first, width), importance.empty() ? importance : importance.subspan(first, width),
              params.subspan(g * count, count));
  }
  grid.settle_row(params);
}

void fit_tensor(const Grid& grid, const Range& range, Matrix<const float> weight, std::span<float> params,
                std::span<const float> importance) {
  if (grid.per_tensor()) {
    if (weight.stride == weight.cols)
      return range.fit(grid, {weight.data, static_cast<std::size_t>(weight.rows * weight.cols)}, {}, params);
    std::vector<float> values(weight.rows * weight.cols);
    for (std::int64_t r = 0; r < weight.rows; ++r)
      std::copy_n(weight.row(r), weight.cols, values.data() + r * weight.cols);
    return range.fit(grid, values, {}, params);
  }
  const std::int64_t per_row = grid.groups(weight.cols) * grid.params_per_group();
  parallel_ranges(weight.rows, fit_rows_at_once, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r)
      fit_row(grid, range, {weight.row(r), static_cast<std::size_t>(weight.cols)}, importance,
              params.subspan(r * per_row, per_row));
  });
  if (grid.joint_rows() == 1) return;
  const std::int64_t joint = grid.joint_rows() > 0 ? grid.joint_rows() : weight.rows;
  for (std::int64_t r = 0; r < weight.rows; r += joint) {
    const std::int64_t rows = std::min(joint, weight.rows - r);
    grid.settle_rows(rows, params.subspan(r * per_row, rows * per_row));
  }
}

}  // namespace vernier
