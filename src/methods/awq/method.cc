// AWQ as a transform: scale search and fold on every edge of the block, then clip search on its linears. The recipe's
// solver rounds what comes out.
#include <algorithm>

#include "base/fail.h"
#include "methods/awq/clip.h"
#include "methods/awq/scale.h"
#include "methods/edge_choice.h"
#include "methods/edge_trial.h"
#include "methods/fold.h"
#include "methods/method.h"

namespace vernier {
namespace {

class Awq : public Transform {
 public:
  Awq(const Options& options, std::vector<ScaleEdge::Kind> kinds) : kinds_(std::move(kinds)) {
    const std::string& scales = options.text("scales");
    scale_.grid = static_cast<int>(options.integer("grid"));
    scale_.activation = scales != "duo";
    scale_.duo = scales != "activation";
    scale_.max_tokens = clip_.max_tokens = options.integer("max_tokens");
    clip_.steps = static_cast<int>(options.integer("clip_steps"));
    clip_.max_shrink = options.number("max_shrink");
    clips_ = options.flag("clip");
  }

  Status apply(BlockContext& block) override {
    VN_TRY(scale(block));
    return clips_ ? clip(block) : Status();
  }

  std::int64_t working_bytes(const Graph& block, std::int64_t max_tokens) const override {
    const std::int64_t tokens = std::min(max_tokens, scale_.max_tokens);
    std::int64_t most = 0;
    for (const ScaleEdge& edge : edges_of_kinds(block, kinds_))
      most = std::max(most, EdgeTrial::working_bytes(block, edge, tokens));
    for (const std::vector<int>& group : linear_groups(block))
      most = std::max(most, 4 * tokens * block.values[block.ops[group[0]].inputs[0]].width);
    return most;
  }

 private:
  Status scale(BlockContext& block) const {
    const std::vector<ScaleEdge> edges = edges_of_kinds(block, kinds_);
    std::vector<ValueId> values;
    for (const ScaleEdge& edge : edges) values.push_back(edge.value);
    // One pass for all edges: folding one leaves the inputs of the others as they are.
    VN_ASSIGN(const std::vector<ChannelStats> stats, block.channel_stats(values));
    for (std::size_t i = 0; i < edges.size(); ++i) {
      if (stats[i].tokens == 0) {
        block.note(fmt::format("awq {}: no tokens, left as it is", edges[i].name));
        continue;
      }
      VN_ASSIGN(const awq::ScaleChoice choice, awq::search_scale(block, edges[i], stats[i].mean_abs, scale_));
      if (choice.rule != "identity") VN_TRY(fold_factor(block, edges[i], choice.factor));
      block.note(fmt::format("awq {}: {}, loss {:.4g} of {:.4g}", edges[i].name, choice.rule, choice.loss,
                             choice.identity_loss));
    }
    return {};
  }

  Status clip(BlockContext& block) const {
    const Graph& graph = block.graph();
    for (const std::vector<int>& group : linear_groups(graph)) {
      std::vector<int> chosen;
      std::copy_if(group.begin(), group.end(), std::back_inserter(chosen),
                   [&](int op) { return block.grid(op) && !awq::feeds_scores(graph, op); });
      if (chosen.empty()) continue;
      const ValueId input = graph.ops[chosen[0]].inputs[0];
      VN_ASSIGN(const Capture capture, block.capture(std::span(&input, 1), clip_.max_tokens));
      for (const int op : chosen) {
        const TensorId weight = graph.ops[op].weight;
        VN_ASSIGN(Tensor * master, block.master(weight));
        const awq::ClipReport report = awq::clip_weight(master->matrix(), capture.values[input].matrix(),
                                                        *block.grid(op), *block.range(op), clip_);
        VN_TRY(block.master_changed(weight));
        block.note(fmt::format("awq {}: {} of {} ranges clipped, error {:.4g} of {:.4g}", graph.ops[op].name,
                               report.clipped, report.groups, report.error, report.unclipped_error));
      }
    }
    return {};
  }

  std::vector<ScaleEdge::Kind> kinds_;
  awq::ScaleOptions scale_;
  awq::ClipOptions clip_;
  bool clips_ = true;
};

Status validate(const Options& options) {
  for (const char* name : {"grid", "clip_steps"})
    if (options.integer(name) < 1 || options.integer(name) > 1000)
      return fail(ErrorCode::invalid, "{}: wanted 1 to 1000, found {}", name, options.integer(name));
  if (options.integer("max_tokens") < 1)
    return fail(ErrorCode::invalid, "max_tokens: wanted at least 1, found {}", options.integer("max_tokens"));
  if (!(options.number("max_shrink") > 0 && options.number("max_shrink") < 1))
    return fail(ErrorCode::invalid, "max_shrink: wanted more than 0 and less than 1, found {}",
                options.number("max_shrink"));
  const auto kinds = edge_kinds(options.text("edges"));
  return kinds.ok() ? Status() : Status(kinds.error());
}

std::unique_ptr<Transform> make(const Options& options) {
  return std::make_unique<Awq>(options, *edge_kinds(options.text("edges")));
}

}  // namespace

namespace units {
extern const MethodDescriptor method_awq;
const MethodDescriptor method_awq{
    .name = "awq",
    .summary = "scales salient channels up and clips ranges, both by search on calibration tokens",
    .source = "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration (2023)",
    .role = MethodDescriptor::Role::transform,
    .needs_calibration = true,
    .options =
        {
            {"grid", std::int64_t{20}, "ratios tried for each rule of scales"},
            {"scales",
             std::string("both"),
             "rules of candidate scales: by activations, by activations and weights, or both",
             {"activation", "duo", "both"}},
            {"edges", std::string("all"), "edges to scale: all, or norm, value, gated, relu joined by +"},
            {"clip", true, "search clipped ranges after scaling"},
            {"clip_steps", std::int64_t{20}, "ranges tried for each group"},
            {"max_shrink", 0.5, "largest part taken off a range"},
            {"max_tokens", std::int64_t{4096}, "calibration tokens the searches look at"},
        },
    .make_transform = make,
    .validate = validate,
};
}  // namespace units

}  // namespace vernier
