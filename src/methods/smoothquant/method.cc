// SmoothQuant as a transform: one factor per edge, given by alpha or searched. The recipe's solver rounds the weights.
#include <algorithm>
#include <charconv>
#include <optional>

#include "base/fail.h"
#include "methods/edge_choice.h"
#include "methods/edge_trial.h"
#include "methods/fold.h"
#include "methods/method.h"
#include "methods/smoothquant/smooth.h"

namespace vernier {
namespace {

// The searched strengths; no smoothing at all is always a candidate.
constexpr double kAlphas[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};

struct Choice {
  std::vector<float> factor;
  std::string text;  // "alpha 0.50", "identity"
};

// "search" gives no value.
Result<std::optional<double>> parse_alpha(const std::string& text) {
  if (text == "search") return std::optional<double>();
  double alpha = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), alpha);
  if (error != std::errc() || stop != text.data() + text.size() || !(alpha >= 0 && alpha <= 1))
    return fail(ErrorCode::invalid, "alpha: wanted search or a number from 0 to 1, found \"{}\"", text);
  return std::optional(alpha);
}

class SmoothQuant : public Transform {
 public:
  SmoothQuant(const Options& options, std::optional<double> alpha, std::vector<ScaleEdge::Kind> kinds)
      : alpha_(alpha), max_tokens_(options.integer("max_tokens")), kinds_(std::move(kinds)) {}

  Status apply(BlockContext& block) override {
    const std::vector<ScaleEdge> edges = edges_of_kinds(block, kinds_);
    std::vector<ValueId> values;
    for (const ScaleEdge& edge : edges) values.push_back(edge.value);
    VN_ASSIGN(const std::vector<ChannelStats> stats, block.channel_stats(values));
    for (std::size_t i = 0; i < edges.size(); ++i) {
      if (stats[i].tokens == 0) {
        block.note(fmt::format("smoothquant {}: no tokens, left as it is", edges[i].name));
        continue;
      }
      const std::vector<float> amax = channel_max(edges[i], stats[i].absmax);
      VN_ASSIGN(const std::vector<float> wmax, smoothquant::weight_maxima(block, edges[i]));
      VN_ASSIGN(const Choice choice, choose(block, edges[i], amax, wmax));
      if (choice.text != "identity") VN_TRY(fold_factor(block, edges[i], choice.factor));
      block.note(fmt::format("smoothquant {}: {}", edges[i].name, choice.text));
    }
    return {};
  }

  std::int64_t working_bytes(const Graph& block, std::int64_t max_tokens) const override {
    std::int64_t most = 0;
    if (alpha_) return most;
    for (const ScaleEdge& edge : edges_of_kinds(block, kinds_))
      most = std::max(most, EdgeTrial::working_bytes(block, edge, std::min(max_tokens, max_tokens_)));
    return most;
  }

 private:
  Result<Choice> choose(BlockContext& block, const ScaleEdge& edge, std::span<const float> amax,
                        std::span<const float> wmax) const {
    if (alpha_) return Choice{smoothquant::smooth_factor(amax, wmax, *alpha_), fmt::format("alpha {:.2f}", *alpha_)};
    Choice best{std::vector<float>(edge.channels, 1.0f), "identity"};
    VN_ASSIGN(EdgeTrial trial, EdgeTrial::make(block, edge, max_tokens_));
    VN_ASSIGN(double least, trial.loss(best.factor));
    for (const double alpha : kAlphas) {
      std::vector<float> factor = smoothquant::smooth_factor(amax, wmax, alpha);
      VN_ASSIGN(const double loss, trial.loss(factor));
      if (!(loss < least)) continue;
      least = loss;
      best = {std::move(factor), fmt::format("alpha {:.2f}", alpha)};
    }
    return best;
  }

  std::optional<double> alpha_;
  std::int64_t max_tokens_;
  std::vector<ScaleEdge::Kind> kinds_;
};

Status validate(const Options& options) {
  if (options.integer("max_tokens") < 1)
    return fail(ErrorCode::invalid, "max_tokens: wanted at least 1, found {}", options.integer("max_tokens"));
  VN_TRY(edge_kinds(options.text("edges")));
  VN_TRY(parse_alpha(options.text("alpha")));
  return {};
}

std::unique_ptr<Transform> make(const Options& options) {
  return std::make_unique<SmoothQuant>(options, *parse_alpha(options.text("alpha")),
                                       *edge_kinds(options.text("edges")));
}

}  // namespace

namespace units {
extern const MethodDescriptor method_smoothquant;
const MethodDescriptor method_smoothquant{
    .name = "smoothquant",
    .summary = "moves outliers of activations into weights, so that both fit 8 bits",
    .source = "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models (2022)",
    .role = MethodDescriptor::Role::transform,
    .needs_calibration = true,
    .options =
        {
            {"alpha", std::string("search"),
             "strength from 0 (weights) to 1 (activations), or search: the best of 0.1 .. 1 and none, for each edge"},
            {"edges", std::string("all"),
             "edges to smooth: all, norm (the paper's), or norm, value, gated, relu joined by +"},
            {"max_tokens", std::int64_t{4096}, "calibration tokens the search looks at"},
        },
    .make_transform = make,
    .validate = validate,
};
}  // namespace units

}  // namespace vernier
