#include "pipeline/block_stages.h"

#include <algorithm>

#include "arch/edges.h"
#include "methods/hessian.h"
#include "runtime/executor.h"

namespace vernier {
namespace {

// Hessians held at once never exceed this or the largest single one. A constant, not a share of the budget: waves
// decide nothing but memory and time, and plans stay comparable.
constexpr std::int64_t wave_bytes = std::int64_t{256} << 20;

// Quantized linears before each value, on the longest path.
std::vector<int> depths(const Graph& block, const std::map<std::string, LinearPlan>& plans) {
  std::vector<int> depth(block.values.size(), 0);
  for (int i = 0; i < static_cast<int>(block.ops.size()); ++i) {
    const Op& op = block.ops[i];
    int d = 0;
    for (const ValueId v : op.inputs) d = std::max(d, depth[v]);
    depth[op.output] = d + (quantized_plan(block, plans, i) ? 1 : 0);
  }
  return depth;
}

const Op* producer(const Graph& block, ValueId value) {
  for (const Op& op : block.ops) {
    if (op.output == value) return &op;
  }
  return nullptr;
}

void assign_pools(const Graph& block, Stage& stage) {
  for (int g = 0; g < static_cast<int>(stage.groups.size()); ++g) {
    StageGroup& group = stage.groups[g];
    const Value& value = block.values[group.input];
    if (value.expert < 0) continue;
    const Op* op = producer(block, group.input);
    const ValueId source = op && op->kind == OpKind::gather ? op->inputs[0] : -1;
    auto pool = std::find_if(stage.pools.begin(), stage.pools.end(),
                             [&](const StagePool& p) { return p.source == source && p.width == value.width; });
    if (pool == stage.pools.end()) pool = stage.pools.insert(pool, StagePool{source, value.width, {}});
    pool->groups.push_back(g);
    group.pool = static_cast<int>(pool - stage.pools.begin());
  }
}

void assign_waves(const Graph& block, Stage& stage) {
  std::int64_t limit = wave_bytes, held = 0;
  for (const StageGroup& group : stage.groups) {
    limit = std::max(limit, Hessian::bytes(block.values[group.input].width));
  }
  for (int g = 0; g < static_cast<int>(stage.groups.size()); ++g) {
    const std::int64_t bytes = Hessian::bytes(block.values[stage.groups[g].input].width);
    if (stage.waves.empty() || held + bytes > limit) {
      stage.waves.emplace_back();
      held = 0;
    }
    stage.waves.back().push_back(g);
    held += bytes;
  }
}

// Of the values that are known after `stage` has advanced: those that it, later stages and the output start from.
std::vector<ValueId> live_values(const Graph& block, const std::vector<bool>& available,
                                 const std::vector<ValueId>& targets) {
  std::vector<bool> live(block.values.size(), false);
  for (const ValueId v : targets) {
    if (available[v]) live[v] = true;
  }
  for (const int i : required_ops(block, available, targets)) {
    for (const ValueId v : block.ops[i].inputs) {
      if (available[v]) live[v] = true;
    }
  }
  std::vector<ValueId> values;
  for (ValueId v = 0; v < static_cast<ValueId>(live.size()); ++v) {
    if (live[v]) values.push_back(v);
  }
  return values;
}

}  // namespace

const LinearPlan* quantized_plan(const Graph& block, const std::map<std::string, LinearPlan>& plans, int op) {
  const Op& linear = block.ops[op];
  if (linear.kind != OpKind::linear) return nullptr;
  const auto it = plans.find(block.tensors[linear.weight].name);
  return it != plans.end() && it->second.grid ? &it->second : nullptr;
}

bool spills_exactly(const Graph& block, ValueId value) {
  const Op* op = producer(block, value);
  return op && op->kind == OpKind::route;
}

double matrix_elements(const Graph& block, const std::vector<int>& ops) {
  double elements = 0;
  for (const int i : ops) {
    if (block.ops[i].kind == OpKind::linear) {
      elements += static_cast<double>(block.tensors[block.ops[i].weight].shape.elements());
    }
  }
  return elements;
}

std::vector<StageGroup> planned_groups(const Graph& block, const std::map<std::string, LinearPlan>& plans) {
  std::vector<StageGroup> groups;
  for (const std::vector<int>& linears : linear_groups(block)) {
    StageGroup group{block.ops[linears.front()].inputs[0], {}, -1};
    for (const int i : linears) {
      if (quantized_plan(block, plans, i)) group.linears.push_back(i);
    }
    if (!group.linears.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

StagePlan plan_stages(const Graph& block, const std::map<std::string, LinearPlan>& plans) {
  const std::vector<int> depth = depths(block, plans);
  std::map<int, Stage> by_depth;
  std::vector<ValueId> targets{block.output};
  for (StageGroup& group : planned_groups(block, plans)) {
    targets.push_back(group.input);
    by_depth[depth[group.input]].groups.push_back(std::move(group));
  }

  StagePlan plan;
  plan.known = {block.input};
  for (auto& [ignored, stage] : by_depth) {
    stage.known = plan.known;
    std::vector<bool> available(block.values.size(), false);
    for (const ValueId v : stage.known) available[v] = true;
    std::vector<ValueId> inputs;
    for (const StageGroup& group : stage.groups) inputs.push_back(group.input);
    stage.ops = required_ops(block, available, inputs);
    for (const int i : stage.ops) {
      const ValueId v = block.ops[i].output;
      if (block.values[v].expert < 0) available[v] = true;
    }
    stage.live = live_values(block, available, targets);
    for (const ValueId v : inputs) std::erase(targets, v);
    plan.known = stage.live;
    assign_pools(block, stage);
    assign_waves(block, stage);
    plan.stages.push_back(std::move(stage));
  }
  return plan;
}

}  // namespace vernier
