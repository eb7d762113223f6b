// Upper estimates of what the engine holds, from shapes alone.
#include <algorithm>
#include <map>
#include <vector>

#include "base/threads.h"
#include "pipeline/block_engine.h"
#include "pipeline/block_forward.h"
#include "pipeline/block_methods.h"
#include "pipeline/block_stages.h"

namespace vernier {
namespace {

constexpr std::int64_t float_bytes = 4;
// Per worker: expanded weight tiles, attention tiles, packing buffers inside the matrix products.
constexpr std::int64_t worker_scratch_bytes = std::int64_t{32} << 20;

std::int64_t matrix_bytes(const Graph& block, TensorId tensor) {
  return tensor < 0 ? 0 : block.tensors[tensor].shape.elements() * float_bytes;
}

std::int64_t part_bytes(const Graph& block, const std::map<std::string, LinearPlan>& plans, int op) {
  const LinearPlan* plan = quantized_plan(block, plans, op);
  if (!plan) return 0;
  const Shape& shape = block.tensors[block.ops[op].weight].shape;
  const std::int64_t groups = plan->grid->per_tensor() ? 1 : shape[0] * plan->grid->groups(shape[1]);
  return shape.elements() + groups * plan->grid->params_per_group() * float_bytes + shape[1] * 4;
}

// Most bytes of values at one moment of evaluating `targets` from `known` for `tokens` tokens. An executor drops a
// value after its last use. Values of experts: each token is in top_k of them, so at worst all tokens are in the top_k
// experts that hold the widest values.
std::int64_t forward_bytes(const Graph& block, const std::vector<ValueId>& known, const std::vector<ValueId>& targets,
                           std::int64_t tokens) {
  std::vector<bool> held(block.values.size(), false), kept(block.values.size(), false);
  for (const ValueId v : known) held[v] = kept[v] = true;
  const std::vector<int> ops = required_ops(block, held, targets);
  for (const ValueId v : targets) kept[v] = true;
  std::vector<int> last_use(block.values.size(), -1);
  std::int64_t top_k = 1;
  for (std::size_t k = 0; k < ops.size(); ++k) {
    for (const ValueId v : block.ops[ops[k]].inputs) last_use[v] = static_cast<int>(k);
    top_k = std::max(top_k, block.ops[ops[k]].top_k);
  }

  std::int64_t most = 0;
  const auto measure = [&] {
    std::int64_t width = 0;
    std::map<std::int32_t, std::int64_t> experts;
    for (std::size_t v = 0; v < held.size(); ++v) {
      if (!held[v]) continue;
      (block.values[v].expert < 0 ? width : experts[block.values[v].expert]) += block.values[v].width;
    }
    std::vector<std::int64_t> widest;
    for (const auto& [ignored, w] : experts) widest.push_back(w);
    std::sort(widest.rbegin(), widest.rend());
    for (std::size_t e = 0; e < widest.size() && static_cast<std::int64_t>(e) < top_k; ++e) width += widest[e];
    most = std::max(most, width * tokens * float_bytes);
  };
  measure();
  for (std::size_t k = 0; k < ops.size(); ++k) {
    held[block.ops[ops[k]].output] = true;
    measure();
    for (const ValueId v : block.ops[ops[k]].inputs) {
      if (!kept[v] && last_use[v] == static_cast<int>(k)) held[v] = false;
    }
  }
  return most;
}

// Float matrices that `ops` read: mapped, or masters.
std::int64_t float_weights(const Graph& block, const std::map<std::string, LinearPlan>& plans,
                           const std::vector<int>& ops, bool quantized) {
  std::int64_t bytes = 0;
  for (const int i : ops) {
    if (quantized && quantized_plan(block, plans, i)) continue;
    bytes += matrix_bytes(block, block.ops[i].weight) + matrix_bytes(block, block.ops[i].bias);
  }
  return bytes;
}

class Estimate {
 public:
  Estimate(const Graph& block, const std::map<std::string, LinearPlan>& plans, const Recipe& recipe,
           const BlockMethods& methods, std::int64_t ctx)
      : block_(block), plans_(plans), recipe_(recipe), methods_(methods), ctx_(ctx) {
    unit_tokens_ = ctx * std::min(BlockEngine::forward_sequences(ctx), recipe.calibration.samples);
    for (std::size_t i = 0; i < block.ops.size(); ++i) all_.push_back(static_cast<int>(i));
    transformed_ = !methods.transforms.empty();
  }

  std::int64_t peak() {
    if (transformed_) resident_ += float_weights(block_, plans_, all_, false);  // masters
    peak_ = 0;
    transforms();
    const bool staged = methods_.needs_statistics(plans_);
    const bool sequential = staged && recipe_.calibration.true_sequential;
    if (staged) {
      for (const Stage& stage : plan_stages(block_, plans_).stages) run_stage(stage, sequential);
    } else {
      for (const StageGroup& group : planned_groups(block_, plans_)) solve(group, 0);
    }
    at(forward_bytes(block_, {block_.input}, {block_.output}, unit_tokens_) +
       mapped(all_, recipe_.calibration.propagate));
    return peak_ + thread_count() * worker_scratch_bytes;
  }

 private:
  void at(std::int64_t bytes) { peak_ = std::max(peak_, resident_ + bytes); }

  std::int64_t mapped(const std::vector<int>& ops, bool quantized) const {
    return transformed_ ? 0 : float_weights(block_, plans_, ops, quantized);
  }

  void transforms() {
    for (const auto& transform : methods_.transforms) {
      at(transform->working_bytes(block_, recipe_.calibration.samples * ctx_) +
         forward_bytes(block_, {block_.input}, {block_.output}, unit_tokens_));
    }
  }

  void run_stage(const Stage& stage, bool sequential) {
    std::vector<ValueId> targets = stage.live;
    for (const StageGroup& group : stage.groups) targets.push_back(group.input);
    const std::int64_t forward =
        forward_bytes(block_, stage.known, targets, unit_tokens_) + mapped(stage.ops, sequential);
    std::int64_t pools = 0;
    for (const StagePool& pool : stage.pools) pools += statistics_bytes(pool.width);
    for (const std::vector<int>& wave : stage.waves) {
      std::int64_t held = pools;
      for (const int g : wave) held += statistics_bytes(block_.values[stage.groups[g].input].width);
      at(held + forward);
      for (const int g : wave) solve(stage.groups[g], held);
    }
  }

  std::int64_t statistics_bytes(std::int64_t width) const {
    constexpr std::int64_t histogram_bytes = std::int64_t{1} << 19;
    return histogram_bytes + (methods_.needs_hessian ? Hessian::bytes(width) : 0);
  }

  void solve(const StageGroup& group, std::int64_t statistics) {
    for (const int i : group.linears) {
      const TensorId t = block_.ops[i].weight;
      const Shape& shape = block_.tensors[t].shape;
      const std::int64_t weight = transformed_ ? 0 : matrix_bytes(block_, t), part = part_bytes(block_, plans_, i);
      at(statistics + weight + std::max(weight, methods_.solver->working_bytes(shape[0], shape[1]) + 2 * part));
      resident_ += part;
    }
  }

  const Graph& block_;
  const std::map<std::string, LinearPlan>& plans_;
  const Recipe& recipe_;
  const BlockMethods& methods_;
  std::int64_t ctx_, unit_tokens_ = 0, resident_ = 0, peak_ = 0;
  std::vector<int> all_;
  bool transformed_ = false;
};

}  // namespace

std::int64_t forward_peak_bytes(const Graph& graph, const std::vector<ValueId>& targets, std::int64_t tokens) {
  return forward_bytes(graph, {graph.input}, targets, tokens) + thread_count() * worker_scratch_bytes;
}

std::int64_t BlockEngine::peak_bytes(const Graph& block, const std::map<std::string, LinearPlan>& plans,
                                     const Recipe& recipe, std::int64_t ctx) {
  const auto methods = BlockMethods::make(recipe);
  return methods.ok() ? Estimate(block, plans, recipe, *methods, ctx).peak() : 0;
}

std::int64_t BlockEngine::scratch_bytes(const Graph& block, const std::map<std::string, LinearPlan>& plans,
                                        const Recipe& recipe, std::int64_t samples, std::int64_t ctx) {
  const auto methods = BlockMethods::make(recipe);
  const std::int64_t element = size_bytes(recipe.calibration.spill == "f32" ? DType::f32 : DType::bf16);
  std::int64_t most = 0;
  if (methods.ok() && methods->needs_statistics(plans)) {
    for (const Stage& stage : plan_stages(block, plans).stages) {
      std::int64_t bytes = 0;
      for (ValueId v = 0; v < static_cast<ValueId>(block.values.size()); ++v) {
        const bool spilled = std::binary_search(stage.known.begin(), stage.known.end(), v) ||
                             std::binary_search(stage.live.begin(), stage.live.end(), v);
        if (!spilled || v == block.input) continue;
        bytes += block.values[v].width * (spills_exactly(block, v) ? float_bytes : element);
      }
      most = std::max(most, bytes);
    }
  }
  return samples * ctx * (most + 2 * block.values[block.input].width * element);
}

}  // namespace vernier
