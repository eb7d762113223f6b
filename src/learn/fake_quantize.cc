#include <cmath>

#include "learn/graph_runner.h"

namespace vernier::learn {

at::Tensor fake_quantize(const at::Tensor& x, const ActivationSpec& spec) {
  const double levels = std::exp2(spec.bits) - 1, half = std::exp2(spec.bits - 1);
  const at::Tensor fixed = x.detach();
  at::Tensor scale, zero;
  if (!spec.dynamic) {
    scale = at::full({1, 1}, spec.scale, x.options());
    zero = at::full({1, 1}, spec.symmetric ? 0.0 : spec.zero, x.options());
  } else {
    const auto reduce_max = [&](const at::Tensor& t) {
      return spec.per_token ? t.amax(1, true) : t.max().reshape({1, 1});
    };
    if (spec.symmetric) {
      const at::Tensor largest = reduce_max(fixed.abs());
      scale = spec.full_range ? largest * 2 / levels : largest / (half - 1);
      zero = at::zeros_like(scale);
    } else {
      const at::Tensor high = reduce_max(fixed).clamp_min(0), low = -reduce_max(-fixed).clamp_min(0);
      scale = (high - low) / levels;
      zero = at::round(-low / at::where(scale > 0, scale, at::ones_like(scale))).clamp(0, levels);
    }
    scale = at::where(scale > 0, scale, at::ones_like(scale));
  }
  const double lowest = spec.symmetric ? (spec.full_range ? -half : -half + 1) : 0;
  const double highest = spec.symmetric ? half - 1 : levels;
  const at::Tensor scaled = x / scale + zero;
  const at::Tensor clamped = scaled.clamp(lowest, highest);
  const at::Tensor codes = clamped + (at::round(clamped) - clamped).detach();
  return (codes - zero) * scale;
}

}  // namespace vernier::learn
