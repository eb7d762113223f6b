#include "pipeline/container_grids.h"

#include "pipeline/target_grids.h"

namespace vernier {
namespace {

constexpr std::int64_t kWidth = 256;  // of the weight that containers are asked about: a block of every type
constexpr const char* kWeight = "model.layers.0.self_attn.q_proj.weight";

// Scales are of the model's type wherever a loader would round them to it.
Json config_for(DType scales) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"torch_dtype", scales == DType::bf16 ? "bfloat16" : "float16"},
          {"hidden_size", kWidth},
          {"intermediate_size", kWidth},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 4},
          {"vocab_size", kWidth}};
}

std::vector<GridSpec> integers(bool symmetric, std::int64_t group, int from = 2, int to = 8) {
  std::vector<GridSpec> grids;
  for (int bits = from; bits <= to; ++bits) grids.push_back({"int", bits, symmetric, group, DType::f16});
  return grids;
}

struct Layout {
  const char* name;
  std::int64_t group;
};
constexpr Layout layouts[] = {{"one scale a tensor", -1},
                              {"one scale a row", 0},
                              {"groups of 32", 32},
                              {"groups of 128", 128},
                              {"groups of 96 and a shorter one", 96}};

}  // namespace

std::vector<GridKind> grid_kinds() {
  std::vector<GridKind> kinds;
  for (const bool symmetric : {true, false})
    for (const Layout& layout : layouts)
      kinds.push_back({std::string("int ") + (symmetric ? "symmetric, " : "asymmetric, ") + layout.name,
                       integers(symmetric, layout.group)});
  kinds.push_back({"int symmetric, groups of 128 of columns in another order", integers(true, 128), true});
  kinds.push_back({"int asymmetric, groups of 128 of columns in another order", integers(false, 128), true});
  kinds.push_back({"int symmetric, one scale a row, int8 inputs", integers(true, 0), false, ActivationSpec{}});
  for (const bool symmetric : {true, false}) {
    std::vector<GridSpec> grids;
    for (int bits = 2; bits <= 4; ++bits) grids.push_back({"dual", bits, symmetric, 128, DType::f32});
    kinds.push_back({std::string("dual ") + (symmetric ? "symmetric" : "asymmetric") + ", groups of 128, int8 inputs",
                     std::move(grids), false, ActivationSpec{}});
  }
  kinds.push_back({"ternary, groups of 64", {{"ternary", 2, true, 64, DType::f16}}});
  kinds.push_back({"fp8, one scale a tensor", {{"fp8", 8, true, -1, DType::bf16}}});
  kinds.push_back({"fp8, one scale a row", {{"fp8", 8, true, 0, DType::bf16}}});
  kinds.push_back({"fp8, groups of 128", {{"fp8", 8, true, 128, DType::bf16}}});
  kinds.push_back({"fp8, blocks of 128 x 128", {{"fp8", 8, true, 128, DType::bf16, 128}}});
  kinds.push_back({"fp8, one scale a row, fp8 inputs",
                   {{"fp8", 8, true, 0, DType::bf16}},
                   false,
                   ActivationSpec{.floating = true}});
  for (const FormatDescriptor* format : formats())
    if (format->fixed) kinds.push_back({std::string(format->name), {*format->fixed}});
  return kinds;
}

std::optional<GridSpec> held_as(const ContainerDescriptor& container, const GridKind& kind, std::size_t at) {
  if (!container.accepts) return std::nullopt;
  const GridSpec& grid = kind.grids[at];
  const auto checkpoint = Checkpoint::assemble("probe", config_for(grid.scale_dtype), {}, {});
  OutputPlan plan{.checkpoint = checkpoint.get()};
  plan.weights.push_back({.name = kWeight,
                          .shape = Shape{kWidth, kWidth},
                          .grid = grid,
                          .column_groups = kind.column_groups,
                          .activation = kind.activation});
  if (container.prepare) container.prepare(plan);
  TargetGrids grids(container, plan);
  WeightPlan weight = plan.weights[0];
  Move move;
  if (!grids.settle(0, {}, weight, move).ok()) return std::nullopt;
  return weight.grid;
}

}  // namespace vernier
