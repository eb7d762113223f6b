#include <cmath>
#include <vector>

#include "learn/graph_runner.h"

namespace vernier::learn {

namespace {

at::Tensor fake_quantize_floating(const at::Tensor& x, const ActivationSpec& spec) {
  const at::Tensor fixed = x.detach().abs();
  at::Tensor scale = spec.dynamic ? (spec.per_token ? fixed.amax(1, true) : fixed.max().reshape({1, 1})) / 448
                                  : at::full({1, 1}, spec.scale, x.options());
  scale = at::where(scale > 0, scale, at::ones_like(scale));
  const at::Tensor clamped = (x / scale).clamp(-448, 448);
  const at::Tensor rounded = clamped.detach().to(at::kFloat8_e4m3fn).to(x.scalar_type());
  return (clamped + (rounded - clamped).detach()) * scale;
}

}  // namespace

at::Tensor fake_quantize(const at::Tensor& x, const ActivationSpec& spec) {
  if (spec.group > 0 && spec.dynamic && spec.per_token && x.size(1) > spec.group) {
    ActivationSpec one = spec;
    one.group = 0;
    std::vector<at::Tensor> groups;
    for (const at::Tensor& columns : x.split(spec.group, 1)) groups.push_back(fake_quantize(columns, one));
    return at::cat(groups, 1);
  }
  if (spec.floating) return fake_quantize_floating(x, spec);
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
