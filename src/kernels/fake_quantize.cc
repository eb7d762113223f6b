#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/threads.h"
#include "formats/minifloat/codec.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kGrainValues = 1 << 15;  // of one worker's piece
constexpr int kLanes = 16;

// Smallest and largest value, 0 included.
struct Span {
  float low = 0, high = 0;
  void widen(float l, float h) {
    low = l < low ? l : low;
    high = h > high ? h : high;
  }
};

Span span_of(const float* x, std::int64_t n) {
  std::array<float, kLanes> low{}, high{};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) low[lane] = x[i + lane] < low[lane] ? x[i + lane] : low[lane];
    for (int lane = 0; lane < kLanes; ++lane) high[lane] = x[i + lane] > high[lane] ? x[i + lane] : high[lane];
  }
  Span span;
  for (; i < n; ++i) span.widen(x[i], x[i]);
  for (int lane = 0; lane < kLanes; ++lane) span.widen(low[lane], high[lane]);
  return span;
}

// Values are scale * (code - zero), codes from `lowest` to `highest`.
struct Quantizer {
  float scale, zero, lowest, highest;
};

Quantizer quantizer(const ActivationSpec& spec, Span span) {
  const float levels = std::ldexp(1.0f, spec.bits) - 1;  // 2^b - 1
  const float top = std::ldexp(1.0f, spec.bits - 1) - 1;
  if (spec.symmetric) {
    const float dynamic_scale = spec.symmetric_scale(std::max(-span.low, span.high));
    return {spec.dynamic ? dynamic_scale : spec.scale, 0, spec.full_range ? -top - 1 : -top, top};
  }
  if (!spec.dynamic) return {spec.scale, spec.zero, 0, levels};
  const float scale = (span.high - span.low) / levels;
  const float zero = scale > 0 ? std::clamp(std::nearbyint(-span.low / scale), 0.0f, levels) : 0.0f;
  return {scale, zero, 0, levels};
}

void apply_floating(float scale, float* x, std::int64_t n) {
  if (!(scale > 0)) {
    std::fill_n(x, n, 0.0f);  // the range is empty
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) x[i] = E4M3::values[E4M3::encode(x[i] / scale)] * scale;
}

void apply(const Quantizer& q, float* x, std::int64_t n) {
  constexpr float kRound = 0x1.8p23f;  // |v| < 2^22: adding and subtracting it rounds to nearest, ties to even
  if (!(q.scale > 0)) {
    std::fill_n(x, n, 0.0f);  // the range is empty
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    float v = x[i] / q.scale + q.zero;
    v = v < q.lowest ? q.lowest : v;
    v = v > q.highest ? q.highest : v;
    x[i] = (((v + kRound) - kRound) - q.zero) * q.scale;
  }
}

}  // namespace

void fake_quantize(Matrix<float> x, const ActivationSpec& spec) {
  const std::int64_t grain = std::max<std::int64_t>(kGrainValues / std::max<std::int64_t>(x.cols, 1), 1);
  const bool per_token = spec.dynamic && spec.per_token;
  Span whole;
  if (spec.dynamic && !per_token) {
    std::vector<Span> spans(x.rows);
    parallel_ranges(x.rows, grain, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) spans[row] = span_of(x.row(row), x.cols);
    });
    for (const Span& span : spans) whole.widen(span.low, span.high);
  }
  parallel_ranges(x.rows, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t group = per_token && spec.group > 0 ? spec.group : std::max<std::int64_t>(x.cols, 1);
      for (std::int64_t c = 0; c < x.cols; c += group) {
        const std::int64_t width = std::min(group, x.cols - c);
        const Quantizer q = quantizer(spec, per_token ? span_of(x.row(row) + c, width) : whole);
        if (spec.floating)
          apply_floating(q.scale, x.row(row) + c, width);
        else
          apply(q, x.row(row) + c, width);
      }
    }
  });
}

}  // namespace vernier::kernels
