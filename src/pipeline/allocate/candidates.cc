#include "pipeline/allocate/candidates.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "pipeline/glob.h"
#include "pipeline/plan_weights.h"

namespace vernier {
namespace {

constexpr std::int64_t wide_block = 256;  // columns
constexpr const char* wide_formats[] = {"q2_k", "q3_k", "iq4_xs", "q4_k", "q5_k", "q6_k", "q8_0"};
constexpr const char* narrow_formats[] = {"q4_0", "iq4_nl", "q4_1", "q5_0", "q5_1", "q8_0"};
constexpr int least_bits = 2, most_bits = 8;

Result<std::vector<WeightSpec>> block_types(const WeightSpec& like, std::int64_t columns) {
  std::vector<WeightSpec> specs;
  const std::span<const char* const> names =
      columns % wide_block == 0 ? std::span<const char* const>(wide_formats) : narrow_formats;
  for (const char* name : names) {
    VN_ASSIGN(const FormatDescriptor* format, find_format(name));
    WeightSpec spec = like;
    spec.format = name;
    spec.bits = format->fixed->bits;
    spec.symmetric = format->fixed->symmetric;
    spec.group = format->fixed->group;
    specs.push_back(std::move(spec));
  }
  return specs;
}

std::vector<WeightSpec> integers(const WeightSpec& like) {
  std::vector<WeightSpec> specs;
  for (int bits = least_bits; bits <= most_bits; ++bits) {
    specs.push_back(like);
    specs.back().bits = bits;
  }
  return specs;
}

Result<CandidateGrid> candidate(const WeightSpec& weights, const WeightPlan& plan) {
  CandidateGrid made{weights, grid_spec(weights, plan.dtype)};
  const auto grid = make_grid(made.grid);
  if (!grid.ok()) return fail(grid.error().code, "tensor {}: {}", plan.name, grid.error().text());
  const double width = (*grid)->bits_per_weight(plan.shape[0], plan.shape[1]);
  made.bits = std::llround(width * static_cast<double>(plan.shape.elements()));
  return made;
}

}  // namespace

std::string CandidateGrid::label() const {
  const auto format = find_format(grid.format);
  return format.ok() && (*format)->fixed ? grid.format : fmt::format("{}{}", grid.format, grid.bits);
}

Result<std::vector<AllocatedTensor>> allocated_tensors(const Checkpoint& checkpoint, const ModelGraph& graph,
                                                       const Recipe& recipe, const std::string& container) {
  if (recipe.weights.bits >= 16)
    return fail(ErrorCode::invalid, "recipe {}: target_bpw with weights.bits 16, which quantizes nothing", recipe.name);
  VN_ASSIGN(const FormatDescriptor* format, find_format(recipe.weights.format));
  const bool blocks = container == "gguf" || format->fixed;
  Recipe expanded = recipe;
  VN_TRY(expand_layer_sets(expanded, graph.layers));
  std::vector<TensorEntry> entries;
  for (const Checkpoint::Entry& entry : checkpoint.entries()) entries.push_back(entry.tensor);
  std::vector<std::string> ignored;
  VN_ASSIGN(const std::vector<WeightPlan> plans, plan_weights(entries, &graph, expanded, false, ignored));

  std::vector<AllocatedTensor> tensors;
  for (const WeightPlan& plan : plans) {
    if (!plan.grid) continue;
    const bool pinned = std::any_of(expanded.overrides.begin(), expanded.overrides.end(),
                                    [&](const TensorOverride& rule) { return match_glob(rule.match, plan.name); });
    std::vector<WeightSpec> specs{weight_spec_for(expanded, plan.name)};
    if (!pinned && blocks) {
      VN_ASSIGN(specs, block_types(recipe.weights, plan.shape[1]));
    } else if (!pinned) {
      specs = integers(recipe.weights);
    }
    AllocatedTensor tensor{plan.name, plan.shape, {}};
    for (const WeightSpec& spec : specs) {
      VN_ASSIGN(CandidateGrid made, candidate(spec, plan));
      tensor.candidates.push_back(std::move(made));
    }
    std::stable_sort(tensor.candidates.begin(), tensor.candidates.end(),
                     [](const CandidateGrid& a, const CandidateGrid& b) { return a.bits < b.bits; });
    tensors.push_back(std::move(tensor));
  }
  if (tensors.empty())
    return with_hint(fail(ErrorCode::invalid, "{}: recipe {} selects no tensor", checkpoint.folder(), recipe.name),
                     "look at the names with `vernier inspect`, and at ignore and overrides in the recipe");
  return tensors;
}

}  // namespace vernier
