// Percentile smoothing as a transform: outlier channels of a linear's input are folded into its weights.
#include "methods/percentile_smooth/smooth.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "methods/edge_choice.h"
#include "methods/fold.h"
#include "methods/method.h"

namespace vernier {
namespace {

// Largest |x| of each column.
std::vector<float> column_maxima(Matrix<const float> x) {
  std::vector<float> most(x.cols, 0.0f);
  for (std::int64_t r = 0; r < x.rows; ++r)
    for (std::int64_t c = 0; c < x.cols; ++c) most[c] = std::max(most[c], std::abs(x(r, c)));
  return most;
}

class PercentileSmooth final : public Transform {
 public:
  PercentileSmooth(double fraction, std::int64_t max_tokens, std::vector<ScaleEdge::Kind> kinds)
      : fraction_(fraction), max_tokens_(max_tokens), kinds_(std::move(kinds)) {}

  Status apply(BlockContext& block) override {
    for (const ScaleEdge& edge : edges_of_kinds(block, kinds_)) {
      VN_ASSIGN(const Capture capture, block.capture(std::span(&edge.value, 1), max_tokens_));
      const std::vector<float> amax = channel_max(edge, column_maxima(capture.values[edge.value].matrix()));
      const std::vector<float> factor = percentile_smooth::smooth_factor(amax, fraction_);
      const auto clipped = std::count_if(factor.begin(), factor.end(), [](float s) { return s > 1; });
      if (clipped > 0) VN_TRY(fold_factor(block, edge, factor));
      block.note(fmt::format("percentile-smooth {}: {} of {} channels, the largest by {:.2f}", edge.name, clipped,
                             factor.size(), *std::max_element(factor.begin(), factor.end())));
    }
    return {};
  }

  std::int64_t working_bytes(const Graph& block, std::int64_t max_tokens) const override {
    std::int64_t widest = 0;
    for (const ScaleEdge& edge : edges_of_kinds(block, kinds_))
      widest = std::max<std::int64_t>(widest, block.values[edge.value].width);
    return std::min(max_tokens, max_tokens_) * widest * static_cast<std::int64_t>(sizeof(float));
  }

 private:
  double fraction_;
  std::int64_t max_tokens_;
  std::vector<ScaleEdge::Kind> kinds_;
};

Status validate(const Options& options) {
  if (const double fraction = options.number("fraction"); !(fraction >= 0 && fraction < 1))
    return fail(ErrorCode::invalid, "percentile-smooth.fraction: 0 <= fraction < 1 wanted, found {}", fraction);
  if (options.integer("max_tokens") < 1)
    return fail(ErrorCode::invalid, "percentile-smooth.max_tokens: wanted at least 1, found {}",
                options.integer("max_tokens"));
  VN_TRY(edge_kinds(options.text("edges")));
  return {};
}

}  // namespace

namespace units {
extern const MethodDescriptor method_percentile_smooth;
const MethodDescriptor method_percentile_smooth{
    .name = "percentile-smooth",
    .summary = "scales the largest input channels down to a percentile of all channels' peaks",
    .source = "Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM, 2023",
    .role = MethodDescriptor::Role::transform,
    .needs_calibration = true,
    .options =
        {
            {"fraction", 0.005, "part of the channels that is scaled down"},
            {"edges", std::string("norm+gated"),
             "edges to smooth: all, or norm, value, gated, relu joined by +; the paper's are norm+gated"},
            {"max_tokens", std::int64_t{4096}, "calibration tokens whose peaks are looked at"},
        },
    .make_transform = [](const Options& options) -> std::unique_ptr<Transform> {
      return std::make_unique<PercentileSmooth>(options.number("fraction"), options.integer("max_tokens"),
                                                *edge_kinds(options.text("edges")));
    },
    .validate = validate,
};
}  // namespace units

}  // namespace vernier
