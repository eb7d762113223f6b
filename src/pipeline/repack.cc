#include "pipeline/repack.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/files.h"
#include "pipeline/output_folder.h"
#include "pipeline/plan.h"
#include "pipeline/plan_weights.h"
#include "pipeline/weight_mover.h"

namespace vernier {
namespace {

// The name of a head's weight that is not the embedding's too; empty where there is none.
std::string own_head(const ModelGraph& graph) {
  for (const Op& op : graph.head.ops) {
    if (op.kind != OpKind::linear) continue;
    const std::string& name = graph.head.tensors[op.weight].name;
    for (const TensorRef& tensor : graph.embed.tensors)
      if (tensor.name == name) return {};
    return name;
  }
  return {};
}

struct Repacking {
  std::unique_ptr<ModelSource> source;
  Plan plan;  // without shards
  std::vector<Move> moves;
  RoundingOptions rounding;
};

// A grid that stands for a form nobody can take apart, to find the nearest to.
GridSpec grid_of_size(const SourceTensor& tensor) {
  const std::int64_t bits = 8 * tensor.stored_bytes / std::max<std::int64_t>(1, tensor.shape.elements());
  return {"int", static_cast<int>(std::clamp<std::int64_t>(bits, 2, 8)), true, 0, DType::f16};
}

Status plan_weight(const RepackOptions& options, const SourceTensor& tensor, WeightPlan& weight, Move& move,
                   const Repacking& repacking) {
  const ModelSource& source = *repacking.source;
  if (tensor.shape.rank() != 2) return {};
  weight.grid = move.from = tensor.grid;
  weight.column_groups = tensor.column_groups;
  weight.activation = source.activation(tensor.name);
  // Kernels quantize inputs to -127 .. 127; other containers use -128, too.
  if (weight.activation && options.container == "vernier") weight.activation->full_range = false;
  if (weight.grid || tensor.dtype) return {};
  if (!repacking.rounding.allowed)
    return with_hint(fail(ErrorCode::unsupported, "{}: {} is stored as {}, whose codes cannot be taken out",
                          source.path(), tensor.name, tensor.format),
                     "convert the model it was made from, or round its values with convert --requantize");
  weight.grid = grid_of_size(tensor);
  return {};
}

// The grids that a recipe gives the floats of a model; the moves say that they are rounded.
Status select_floats(std::span<const TensorEntry> tensors, Repacking& repacking) {
  const Recipe& recipe = *repacking.rounding.recipe;
  std::vector<std::string> unused;
  VN_ASSIGN(const auto chosen, plan_weights(tensors, &repacking.source->graph(), recipe, false, unused));
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (!chosen[i].grid) continue;
    repacking.plan.output.weights[i].grid = chosen[i].grid;
    repacking.moves[i] = {std::nullopt, true, range_spec(weight_spec_for(recipe, chosen[i].name))};
  }
  return {};
}

Status plan_weights_of(const RepackOptions& options, Repacking& repacking) {
  const ModelSource& source = *repacking.source;
  OutputPlan& output = repacking.plan.output;
  const std::string head = options.head_bits > 0 ? own_head(source.graph()) : std::string();
  if (options.head_bits > 0 && head.empty())
    log_warn("{}: the head shares the embedding's weight, which stays in float", options.model);
  VN_ASSIGN(const std::vector<TensorEntry> tensors, source_tensors(source));
  bool quantized = false;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    WeightPlan weight{.name = tensors[i].name, .shape = tensors[i].shape, .dtype = tensors[i].dtype};
    Move move;
    VN_TRY(plan_weight(options, source.tensors()[i], weight, move, repacking));
    quantized = quantized || weight.grid;
    if (weight.name == head && !weight.grid) {
      weight.grid = GridSpec{"int", options.head_bits, true, 0, DType::bf16};
      move.round = true;
    }
    output.weights.push_back(std::move(weight));
    repacking.moves.push_back(std::move(move));
  }
  if (quantized || !repacking.rounding.allowed) return {};
  if (!repacking.rounding.recipe)
    return with_hint(fail(ErrorCode::invalid, "{}: a model of floats, and no grid to round it to", options.model),
                     "name one: --grid q8_0");
  return select_floats(tensors, repacking);
}

// What will be written, before the container is asked whether it holds it.
Result<Repacking> plan_repacking(const RepackOptions& options) {
  VN_ASSIGN(auto source, open_model(options.model));
  Repacking result{std::move(source), {}, {}, options.rounding};
  if (Recipe* recipe = result.rounding.recipe ? &*result.rounding.recipe : nullptr)
    VN_TRY(expand_layer_sets(*recipe, result.source->graph().layers));
  Plan& plan = result.plan;
  plan.options.model = options.model;
  plan.options.out = options.out;
  VN_ASSIGN(plan.checkpoint, Checkpoint::open(options.model));
  VN_ASSIGN(plan.container, find_container(options.container));
  if (!plan.container->accepts)
    return fail(ErrorCode::unsupported, "container {} is read only: it cannot hold quantized weights",
                plan.container->name);
  plan.output.checkpoint = plan.checkpoint.get();
  plan.output.max_shard_bytes = options.max_shard_bytes;
  VN_ASSIGN(plan.companions, companions_of(options.model, *plan.checkpoint));
  std::erase(plan.companions.copied, "recipe.yaml");  // written below, from what the source says
  if (const std::string recipe = options.model + "/recipe.yaml"; file_exists(recipe)) {
    VN_ASSIGN(plan.output.recipe_yaml, read_text_file(recipe));
  } else {
    plan.output.recipe_yaml = fmt::format("# repacked from {}\n", result.source->container());
  }
  VN_TRY(plan_weights_of(options, result));
  if (plan.container->prepare) plan.container->prepare(plan.output);
  return result;
}

// Gives every quantized weight its grid in the container; what has none is refused.
Result<std::vector<Refusal>> settle_grids(Repacking& repacking) {
  OutputPlan& output = repacking.plan.output;
  TargetGrids grids(*repacking.plan.container, output);
  std::vector<Refusal> refusals;
  for (std::size_t i = 0; i < output.weights.size(); ++i) {
    WeightPlan& weight = output.weights[i];
    if (!weight.grid) continue;
    if (const Status status = grids.settle(i, repacking.rounding, weight, repacking.moves[i]); !status.ok())
      refusals.push_back({weight.name, weight.grid->text(), status.error().message});
  }
  output.ignored = unquantized_linears(output.weights, &repacking.source->graph());
  return refusals;
}

}  // namespace

Result<RepackResult> repack(const RepackOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  if (file_exists(options.out) && !list_directory(options.out).empty())
    return with_hint(fail(ErrorCode::exists, "{}: exists already", options.out), "choose another folder with -o");
  VN_ASSIGN(Repacking repacking, plan_repacking(options));
  Plan& plan = repacking.plan;
  RepackResult result;
  VN_ASSIGN(result.refused, settle_grids(repacking));
  if (!result.refused.empty()) return result;
  for (const WeightPlan& weight : plan.output.weights) (weight.grid ? result.quantized : result.copied) += 1;
  VN_TRY(plan.container->accepts(plan.output));
  VN_ASSIGN(plan.shards, place_tensors(*plan.container, plan.output));

  VN_ASSIGN(OutputFolder output, OutputFolder::open(plan));
  Progress progress(options.container == "vernier" ? "pack" : "convert",
                    static_cast<double>(plan.output.weights.size()));
  WeightMover mover(plan, *repacking.source, output);
  for (std::size_t i = 0; i < plan.output.weights.size(); ++i) {
    const WeightPlan& weight = plan.output.weights[i];
    const SourceTensor& tensor = repacking.source->tensors()[i];
    VN_TRY(check_interrupt());
    VN_ASSIGN(const double error, mover.write(tensor, weight, repacking.moves[i]));
    if (repacking.moves[i].round)
      result.rounded.push_back(
          {weight.name, tensor.format, weight.grid ? weight.grid->text() : std::string(name(weight.dtype)), error});
    trim_heap();
    progress.advance(1, weight.name);
  }
  VN_TRY(output.finish(plan));
  for (const PlannedShard& shard : plan.shards) result.output_bytes += shard.plan.file_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace vernier
