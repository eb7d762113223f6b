#include "pipeline/plan_weights.h"

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "pipeline/glob.h"

namespace vernier {
namespace {

constexpr std::int64_t smallest_side = 32;  // of a matrix that is worth quantizing when only its shape is known

bool is_ignored(const Recipe& recipe, const std::string& name) {
  return std::any_of(recipe.ignore.begin(), recipe.ignore.end(),
                     [&](const std::string& pattern) { return match_glob(pattern, name); });
}

// Names of the weights that some linear (or the embedding) multiplies with.
struct MatrixNames {
  std::set<std::string> linear, embedding;
};

MatrixNames matrix_names(const ModelGraph& model) {
  MatrixNames names;
  for (const Graph* graph : model.graphs()) {
    for (const Op& op : graph->ops) {
      if (op.weight < 0) continue;
      if (op.kind == OpKind::linear) names.linear.insert(graph->tensors[op.weight].name);
      if (op.kind == OpKind::embedding) names.embedding.insert(graph->tensors[op.weight].name);
    }
  }
  return names;
}

std::string module_of(const std::string& weight) {
  constexpr std::string_view suffix = ".weight";
  return weight.ends_with(suffix) ? weight.substr(0, weight.size() - suffix.size()) : weight;
}

// Whether the plan's tensor is the weight of a linear; `names` is null for architectures nobody described.
bool is_linear(const WeightPlan& plan, const MatrixNames* names) {
  if (names) return names->linear.count(plan.name) > 0;
  return plan.shape.rank() == 2 && plan.shape[0] >= smallest_side && plan.shape[1] >= smallest_side &&
         plan.name.ends_with(".weight");
}

}  // namespace

Status expand_layer_sets(Recipe& recipe, std::int64_t layers) {
  std::vector<TensorOverride> expanded;
  for (const TensorOverride& rule : recipe.overrides) {
    const std::size_t open = rule.match.find('{');
    if (open == std::string::npos) {
      expanded.push_back(rule);
      continue;
    }
    const std::size_t close = std::min(rule.match.find('}', open), rule.match.size() - 1);
    const std::string set = rule.match.substr(open, close - open + 1);
    if (set != "{more-bits}" && set != "{first-sixteenth}")
      return with_hint(
          fail(ErrorCode::invalid, "recipe {}: overrides: no set of layers is called {}", recipe.name, set),
          "known sets: {more-bits}, {first-sixteenth}");
    if (layers == 0)
      return with_hint(
          fail(ErrorCode::unsupported,
               "recipe {}: overrides: {} needs the number of layers, which this architecture does not tell",
               recipe.name, set),
          "name the layers by their numbers");
    for (std::int64_t i = 0; i < layers; ++i) {
      const std::int64_t eighth = layers / 8;
      const bool inside =
          set == "{more-bits}" ? i < eighth || i >= 7 * layers / 8 || (i - eighth) % 3 == 2 : i < layers / 16;
      if (!inside) continue;
      TensorOverride one = rule;
      one.match.replace(open, set.size(), std::to_string(i));
      expanded.push_back(std::move(one));
    }
  }
  recipe.overrides = std::move(expanded);
  return {};
}

WeightSpec weight_spec_for(const Recipe& recipe, const std::string& name) {
  for (const TensorOverride& rule : recipe.overrides) {
    if (match_glob(rule.match, name)) return rule.weights;
  }
  return recipe.weights;
}

GridSpec grid_spec(const WeightSpec& weights, DType stored) {
  const auto format = find_format(weights.format);
  if (format.ok() && (*format)->fixed) return *(*format)->fixed;
  GridSpec spec;
  spec.format = weights.format;
  spec.bits = weights.bits;
  spec.symmetric = weights.is_symmetric();
  spec.group = weights.group_size();
  spec.group_rows = weights.group_rows;
  if (weights.scale_dtype != "auto") {
    spec.scale_dtype = weights.scale_dtype == "f32"    ? DType::f32
                       : weights.scale_dtype == "bf16" ? DType::bf16
                                                       : DType::f16;
    return spec;
  }
  spec.scale_dtype = stored == DType::bf16 ? DType::bf16 : DType::f16;
  if (format.ok() && (*format)->scale_dtype) spec.scale_dtype = *(*format)->scale_dtype;
  return spec;
}

RangeSpec range_spec(const WeightSpec& weights) {
  RangeSpec spec;
  spec.method = weights.range;
  spec.percentile = weights.percentile;
  spec.grid = weights.mse_grid;
  spec.max_shrink = weights.mse_max_shrink;
  spec.norm = weights.mse_norm;
  return spec;
}

std::optional<ActivationSpec> activation_spec(const ActivationRecipe& activations) {
  if (activations.bits >= 16) return std::nullopt;
  ActivationSpec spec;
  spec.bits = activations.bits;
  spec.symmetric = activations.symmetric;
  spec.floating = activations.format == "fp8";
  spec.dynamic = activations.dynamic;
  spec.per_token = activations.dynamic && activations.granularity == "token";
  if (spec.per_token) spec.group = static_cast<int>(activations.group);
  return spec;
}

Result<std::vector<WeightPlan>> plan_weights(std::span<const TensorEntry> tensors, const ModelGraph* graph,
                                             const Recipe& recipe, bool column_groups,
                                             std::vector<std::string>& ignored_modules) {
  const MatrixNames names = graph ? matrix_names(*graph) : MatrixNames{};
  std::vector<WeightPlan> plans;
  for (const TensorEntry& tensor : tensors) {
    WeightPlan plan;
    plan.name = tensor.name;
    plan.shape = tensor.shape;
    plan.dtype = tensor.dtype;
    const bool linear = is_linear(plan, graph ? &names : nullptr);
    const bool matrix = linear || names.embedding.count(tensor.name) > 0;
    const WeightSpec weights = weight_spec_for(recipe, tensor.name);
    const bool chosen = matrix && is_float(tensor.dtype) && weights.bits < 16 && !is_ignored(recipe, tensor.name);
    if (chosen) {
      plan.grid = grid_spec(weights, tensor.dtype);
      const auto grid = make_grid(*plan.grid);
      if (!grid.ok()) return fail(grid.error().code, "tensor {}: {}", tensor.name, grid.error().text());
      plan.column_groups = column_groups && plan.grid->group > 0;
      if (linear) plan.activation = activation_spec(recipe.activations);
    }
    plans.push_back(std::move(plan));
  }
  ignored_modules = unquantized_linears(plans, graph);
  return plans;
}

std::vector<std::string> unquantized_linears(std::span<const WeightPlan> plans, const ModelGraph* graph) {
  const MatrixNames names = graph ? matrix_names(*graph) : MatrixNames{};
  std::set<std::string> modules;
  for (const WeightPlan& plan : plans)
    if (!plan.grid && is_linear(plan, graph ? &names : nullptr)) modules.insert(module_of(plan.name));
  // A tied head has no tensor of its own, but runtimes look for its module among the exceptions.
  if (graph && !graph->head.ops.empty()) {
    const Op& head = graph->head.ops.back();
    const bool quantized = std::any_of(plans.begin(), plans.end(), [&](const WeightPlan& p) {
      return p.grid && head.weight >= 0 && p.name == graph->head.tensors[head.weight].name;
    });
    if (!quantized) modules.insert(head.name);
  }
  return {modules.begin(), modules.end()};
}

}  // namespace vernier
