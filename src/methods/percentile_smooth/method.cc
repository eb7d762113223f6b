// Percentile smoothing as a transform: outlier channels of a linear's input are folded into its weights.
#include "methods/percentile_smooth/smooth.h"

#include <algorithm>

#include "base/fail.h"
#include "methods/edge_choice.h"
#include "methods/fold.h"
#include "methods/method.h"

namespace vernier {
namespace {

class PercentileSmooth final : public Transform {
 public:
  PercentileSmooth(double fraction, std::vector<ScaleEdge::Kind> kinds)
      : fraction_(fraction), kinds_(std::move(kinds)) {}

  Status apply(BlockContext& block) override {
    const std::vector<ScaleEdge> edges = edges_of_kinds(block, kinds_);
    std::vector<ValueId> values;
    for (const ScaleEdge& edge : edges) values.push_back(edge.value);
    VN_ASSIGN(const std::vector<ChannelStats> stats, block.channel_stats(values));
    for (std::size_t i = 0; i < edges.size(); ++i) {
      const std::vector<float> factor =
          percentile_smooth::smooth_factor(channel_max(edges[i], stats[i].absmax), fraction_);
      const auto clipped = std::count_if(factor.begin(), factor.end(), [](float s) { return s > 1; });
      if (clipped > 0) VN_TRY(fold_factor(block, edges[i], factor));
      block.note(fmt::format("percentile-smooth {}: {} of {} channels, the largest by {:.2f}", edges[i].name, clipped,
                             factor.size(), *std::max_element(factor.begin(), factor.end())));
    }
    return {};
  }

  std::int64_t working_bytes(const Graph&, std::int64_t) const override { return 0; }

 private:
  double fraction_;
  std::vector<ScaleEdge::Kind> kinds_;
};

Status validate(const Options& options) {
  if (const double fraction = options.number("fraction"); !(fraction >= 0 && fraction < 1))
    return fail(ErrorCode::invalid, "percentile-smooth.fraction: 0 <= fraction < 1 wanted, found {}", fraction);
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
        },
    .make_transform = [](const Options& options) -> std::unique_ptr<Transform> {
      return std::make_unique<PercentileSmooth>(options.number("fraction"), *edge_kinds(options.text("edges")));
    },
    .validate = validate,
};
}  // namespace units

}  // namespace vernier
