#include "pipeline/block_statistics.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/threads.h"

namespace vernier {
namespace {

constexpr std::int64_t bins = 1 << 16;
constexpr std::int64_t range_pieces = 16;
constexpr std::int64_t channel_tile = 128;  // columns per worker
constexpr double pool_share = 0.1;          // of the columns: what an expert's pool weighs, in tokens
constexpr float smallest_scale = 1e-5f;     // of an activation quantizer (handbook, transforms, B1)

// The upper half of a float's pattern, in an order that rises with the value.
std::uint32_t bin_of(float value) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value) >> 16;
  return bits & 0x8000 ? 0xFFFF - bits : bits | 0x8000;
}

float value_of(std::uint32_t bin) {
  const std::uint32_t bits = bin & 0x8000 ? bin & 0x7FFF : 0xFFFF - bin;
  return __builtin_bit_cast(float, bits << 16);
}

}  // namespace

void RangeStatistics::add(Matrix<const float> x) {
  if (x.rows == 0 || x.cols == 0) return;
  std::mutex mutex;
  parallel_ranges(x.rows, (x.rows + range_pieces - 1) / range_pieces, [&](std::int64_t first, std::int64_t last) {
    float low = std::numeric_limits<float>::infinity(), high = -low;
    std::vector<std::uint32_t> counts(counts_.size());
    for (std::int64_t r = first; r < last; ++r) {
      const float* row = x.row(r);
      for (std::int64_t c = 0; c < x.cols; ++c) {
        low = std::min(low, row[c]);
        high = std::max(high, row[c]);
      }
      if (counts.empty()) continue;
      for (std::int64_t c = 0; c < x.cols; ++c) ++counts[bin_of(row[c])];
    }
    std::lock_guard lock(mutex);
    low_ = std::min(low_, low);
    high_ = std::max(high_, high);
    for (std::size_t i = 0; i < counts.size(); ++i) counts_[i] += counts[i];
  });
}

void RangeStatistics::merge(const RangeStatistics& other) {
  low_ = std::min(low_, other.low_);
  high_ = std::max(high_, other.high_);
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

RangeStatistics::Trimmed RangeStatistics::trim(double share) const {
  std::uint64_t total = 0;
  for (const std::uint64_t n : counts_) total += n;
  if (total == 0) return {0, 0, 0};
  // The small term keeps a share that is not representable from costing one value.
  const double wanted = std::max(0.0, (1 - share) * static_cast<double>(total) + 1e-6);
  const std::uint64_t cut = std::min(static_cast<std::uint64_t>(wanted), (total - 1) / 2);
  std::int64_t low = 0, high = bins - 1, magnitude = bins - 1;
  for (std::uint64_t n = counts_[low]; n <= cut; n += counts_[++low]) {
  }
  for (std::uint64_t n = counts_[high]; n <= cut; n += counts_[--high]) {
  }
  const auto both_signs = [&](std::int64_t bin) { return counts_[bin] + counts_[bins - 1 - bin]; };  // -v mirrors v
  for (std::uint64_t n = both_signs(magnitude); n <= cut; n += both_signs(--magnitude)) {
  }
  const auto value = [](std::int64_t bin) { return value_of(static_cast<std::uint32_t>(bin)); };
  return {std::min(value(low), 0.0f), std::max(value(high), 0.0f), value(magnitude)};
}

ActivationSpec RangeStatistics::calibrate(ActivationSpec spec, const ActivationRecipe& recipe) const {
  Trimmed range{std::min(low_, 0.0f), std::max(high_, 0.0f), std::max(-low_, high_)};
  if (!counts_.empty()) range = trim(recipe.percentile / 100);
  const float levels = static_cast<float>((1 << spec.bits) - 1);
  if (spec.symmetric) {
    spec.scale = std::max(spec.symmetric_scale(range.absmax), smallest_scale);
    spec.zero = 0;
  } else {
    spec.scale = std::max((range.high - range.low) / levels, smallest_scale);
    spec.zero = std::clamp(std::nearbyint(-range.low / spec.scale), 0.0f, levels);
  }
  return spec;
}

void SquareSums::add(Matrix<const float> x) {
  parallel_ranges(x.cols, channel_tile, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const float* row = x.row(r);
      for (std::int64_t c = first; c < last; ++c) sums_[c] += double{row[c]} * row[c];
    }
  });
  tokens_ += x.rows;
}

std::vector<float> mean_squares(const SquareSums& own, const SquareSums* pool) {
  const auto tokens = static_cast<double>(own.tokens()), width = static_cast<double>(own.sums().size());
  const double tau = pool ? pool_share * width : 0;
  std::vector<float> means(own.sums().size());
  for (std::size_t c = 0; c < means.size(); ++c) {
    const double shared = pool ? tau * pool->sums()[c] / static_cast<double>(pool->tokens()) : 0;
    means[c] = static_cast<float>((own.sums()[c] + shared) / (tokens + tau));
  }
  return means;
}

void shrink_to_pool(Hessian& hessian, const Hessian& pool) {
  const double tokens = static_cast<double>(hessian.tokens());
  const double tau = pool_share * static_cast<double>(hessian.columns());
  const float own = static_cast<float>(tokens / (tokens + tau)), shared = static_cast<float>(tau / (tokens + tau));
  const Matrix<float> h = hessian.matrix();
  const Matrix<const float> p = pool.matrix();
  parallel_ranges(h.rows, 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r) {
      for (std::int64_t c = 0; c < h.cols; ++c) {
        h(r, c) = tokens == 0 ? p(r, c) : own * h(r, c) + shared * p(r, c);
      }
    }
  });
}

ChannelAccumulator::ChannelAccumulator(std::int64_t width)
    : low_(width, std::numeric_limits<float>::infinity()),
      high_(width, -std::numeric_limits<float>::infinity()),
      sum_abs_(width) {}

void ChannelAccumulator::add(Matrix<const float> x) {
  parallel_ranges(x.cols, channel_tile, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const float* row = x.row(r);
      for (std::int64_t c = first; c < last; ++c) {
        low_[c] = std::min(low_[c], row[c]);
        high_[c] = std::max(high_[c], row[c]);
        sum_abs_[c] += std::fabs(row[c]);
      }
    }
  });
  tokens_ += x.rows;
}

ChannelStats ChannelAccumulator::finish() const {
  const std::size_t width = low_.size();
  ChannelStats stats;
  stats.tokens = tokens_;
  for (auto* v : {&stats.absmax, &stats.mean_abs, &stats.min, &stats.max}) v->resize(width);
  if (tokens_ == 0) return stats;
  for (std::size_t c = 0; c < width; ++c) {
    stats.min[c] = low_[c];
    stats.max[c] = high_[c];
    stats.absmax[c] = std::max(-low_[c], high_[c]);
    stats.mean_abs[c] = static_cast<float>(sum_abs_[c] / static_cast<double>(tokens_));
  }
  return stats;
}

}  // namespace vernier
