#include "pipeline/plan.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/gguf/checkpoint.h"
#include "pipeline/estimate.h"
#include "pipeline/plan_weights.h"

namespace vernier {
namespace {

// The container the user named, or the first that holds the plan: compressed-tensors, then vernier.
Result<const ContainerDescriptor*> choose_container(Plan& plan) {
  if (!plan.options.container.empty()) {
    VN_ASSIGN(const ContainerDescriptor* container, find_container(plan.options.container));
    if (!container->accepts) {
      return fail(ErrorCode::unsupported, "container {} is read only: it cannot hold quantized weights",
                  container->name);
    }
    if (container->prepare) container->prepare(plan.output);
    VN_TRY(container->accepts(plan.output));
    return container;
  }
  VN_ASSIGN(const ContainerDescriptor* preferred, find_container("compressed-tensors"));
  const Status status = preferred->accepts(plan.output);
  if (status.ok()) return preferred;
  plan.notes.push_back(
      fmt::format("container vernier, because compressed-tensors does not hold this: {}", status.error().message));
  VN_ASSIGN(const ContainerDescriptor* fallback, find_container("vernier"));
  VN_TRY(fallback->accepts(plan.output));
  return fallback;
}

}  // namespace

Result<std::vector<PlannedShard>> place_tensors(const ContainerDescriptor& container, const OutputPlan& output) {
  if (container.place) {
    VN_ASSIGN(std::vector<PlacedFile> files, container.place(output));
    std::vector<PlannedShard> placed;
    for (PlacedFile& file : files) placed.push_back({std::move(file.file), std::move(file.plan)});
    return placed;
  }
  const std::int64_t most_bytes = output.max_shard_bytes > 0 ? output.max_shard_bytes : usual_shard_bytes;
  std::vector<std::vector<TensorEntry>> shards(1);
  std::int64_t filled = 0;
  for (const WeightPlan& weight : output.weights) {
    std::vector<TensorEntry> entries;
    if (weight.grid) {
      entries = container.layout(weight);
    } else {
      entries.push_back({weight.name, weight.dtype, weight.shape, 0});
    }
    std::int64_t bytes = 0;
    for (const TensorEntry& entry : entries) bytes += entry.bytes();
    if (filled > 0 && filled + bytes > most_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().insert(shards.back().end(), entries.begin(), entries.end());
  }
  std::vector<PlannedShard> placed;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = shards.size() == 1 ? std::string("model.safetensors")
                                                : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    placed.push_back({file, plan_safetensors(std::move(shards[i]), {{"format", "pt"}})});
  }
  return placed;
}

namespace {

std::int64_t file_bytes(const std::string& path) {
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  return ignored ? 0 : static_cast<std::int64_t>(size);
}

Status check_source(const Checkpoint& checkpoint) {
  const Json& config = checkpoint.config();
  const Json none = Json::object();
  const Json quantization = config.value("quantization_config", none);
  const bool float_gguf = is_gguf_path(checkpoint.folder()) && quantization.value("types", none).empty();
  if (!quantization.is_null() && !float_gguf && config.contains("quantization_config")) {
    return with_hint(fail(ErrorCode::unsupported, "{}: this checkpoint is already quantized", checkpoint.folder()),
                     "quantize the float checkpoint it was made from, or vernier convert --requantize");
  }
  return {};
}

// The graph, and whether every tensor it names is there in the right shape; unexpected tensors are noted.
Status attach_graph(Plan& plan) {
  auto graph = build_model_graph(plan.checkpoint->config(), plan.checkpoint->folder() + "/config.json");
  if (!graph.ok()) {
    if (graph.error().code != ErrorCode::unsupported) return std::move(graph).take_error();
    if (plan.calibrated) {
      return with_hint(
          fail(ErrorCode::unsupported, "{}; recipe {} needs to run the model", graph.error().message, plan.recipe.name),
          "a data-free recipe works on any architecture: --recipe w4a16-rtn");
    }
    plan.notes.push_back(fmt::format("{}: quantizing by tensor pattern", graph.error().message));
    return {};
  }
  std::set<std::string> named;
  for (const Graph* part : graph->graphs()) {
    for (const TensorRef& tensor : part->tensors) {
      VN_ASSIGN(const TensorView view, plan.checkpoint->view(tensor.name));
      if (view.shape != tensor.shape) {
        return with_hint(fail(ErrorCode::mismatch, "{}: tensor {}: config.json wants {}, the file has {}",
                              plan.checkpoint->folder(), tensor.name, tensor.shape.text(), view.shape.text()),
                         "config.json and the weights must come from the same model");
      }
      named.insert(tensor.name);
    }
  }
  std::vector<std::string> unexpected;
  for (const auto& entry : plan.checkpoint->entries()) {
    if (!named.count(entry.tensor.name)) unexpected.push_back(entry.tensor.name);
  }
  if (!unexpected.empty()) {
    plan.notes.push_back(fmt::format(
        "{} tensor{} the architecture does not use {} copied unchanged: {}{}", unexpected.size(),
        unexpected.size() == 1 ? "" : "s", unexpected.size() == 1 ? "is" : "are",
        fmt::join(unexpected.begin(), unexpected.begin() + std::min<std::size_t>(3, unexpected.size()), ", "),
        unexpected.size() > 3 ? ", ..." : ""));
  }
  plan.graph = std::move(*graph);
  return {};
}

// A GGUF file has its tensors under other names, in another order of rows: they are read through its source, which
// checks them.
Status attach_gguf(Plan& plan) {
  VN_ASSIGN(plan.output.rewritten, open_model(plan.options.model));
  plan.graph = plan.output.rewritten->graph();
  return {};
}

// Lets the recipe's transforms of whole models rewrite it, in their order: graph, config and tensors are theirs from
// here.
Status rewrite_model(Plan& plan) {
  for (const MethodChoice& choice : plan.recipe.transforms) {
    VN_ASSIGN(const MethodDescriptor* method, find_method(choice.name));
    if (!method->rewrite_model) continue;
    if (!plan.graph)
      return fail(ErrorCode::unsupported, "{}: transform {} needs an architecture that is described here",
                  plan.options.model, choice.name);
    VN_ASSIGN(const Options options, resolve_options(*method, choice.options));
    if (method->validate) VN_TRY(method->validate(options));
    std::shared_ptr<const ModelSource> model = plan.output.rewritten;
    if (!model) {
      VN_ASSIGN(model, open_model(plan.options.model));
    }
    VN_ASSIGN(plan.output.rewritten, method->rewrite_model(std::move(model), options, plan.notes));
    plan.graph = plan.output.rewritten->graph();
  }
  return {};
}

// The importance matrix of the options, for the weights that are planned.
Status attach_importance(Plan& plan) {
  const std::string& path = plan.options.imatrix;
  if (!plan.recipe.transforms.empty()) {
    return with_hint(fail(ErrorCode::unsupported,
                          "recipe {}: transform {} changes what linears read, an importance matrix tells of the model "
                          "as it was",
                          plan.recipe.name, plan.recipe.transforms.front().name),
                     "leave --imatrix out");
  }
  VN_ASSIGN(plan.importance, load_importance(path, plan.output.weights, plan.graph ? &*plan.graph : nullptr));
  plan.notes.push_back(fmt::format("{} weights have an importance from {}", plan.importance.of_weight.size(), path));
  const std::string& range = plan.recipe.weights.range;
  if (range != "search" && range != "mse")
    plan.notes.push_back(fmt::format("range {} does not heed it; --set range=mse or range=search does", range));
  return {};
}

// Tensors of the model before a transform rewrites it.
Result<std::vector<TensorEntry>> model_tensors(const Plan& plan) {
  if (plan.output.rewritten) return source_tensors(*plan.output.rewritten);
  std::vector<TensorEntry> tensors;
  for (const Checkpoint::Entry& entry : plan.checkpoint->entries()) tensors.push_back(entry.tensor);
  return tensors;
}

const TensorEntry* find_tensor(const std::vector<TensorEntry>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const TensorEntry& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

// The stored type of the head's weight, or of the embedding a tied head shares.
DType head_dtype(const Plan& plan, const std::vector<TensorEntry>& tensors) {
  if (!plan.graph || plan.graph->head.ops.empty()) return DType::bf16;
  const Graph& head = plan.graph->head;
  const TensorEntry* entry = find_tensor(tensors, head.tensors[head.ops.back().weight].name);
  return entry ? entry->dtype : DType::bf16;
}

// Adds those that only the rewritten model has (an untied head, in the embedding's type).
void add_rewritten(const Plan& plan, DType added_dtype, std::vector<TensorEntry>& tensors) {
  if (!plan.output.rewritten) return;
  std::set<std::string> names;
  for (const TensorEntry& tensor : tensors) names.insert(tensor.name);
  for (const SourceTensor& tensor : plan.output.rewritten->tensors())
    if (!names.count(tensor.name)) tensors.push_back({tensor.name, added_dtype, tensor.shape});
}

}  // namespace

double Plan::bits_per_weight() const {
  double bits = 0, weights = 0;
  for (const WeightPlan& weight : output.weights) {
    if (!weight.grid) continue;
    const auto n = static_cast<double>(weight.shape.elements());
    bits += n * make_grid(*weight.grid).value()->bits_per_weight(weight.shape[0], weight.shape[1]);
    weights += n;
  }
  return weights > 0 ? bits / weights : 0;
}

Result<Plan> make_plan(const Recipe& recipe, const RunOptions& options, bool probe) {
  Plan plan;
  plan.options = options;
  plan.recipe = recipe;
  VN_ASSIGN(plan.checkpoint, Checkpoint::open(options.model));
  VN_TRY(check_source(*plan.checkpoint));

  VN_ASSIGN(const MethodDescriptor* solver, find_method(recipe.solver.name));
  if (solver->role != MethodDescriptor::Role::solver) {
    return fail(ErrorCode::invalid, "recipe {}: {} is a transform, not a solver", recipe.name, solver->name);
  }
  VN_ASSIGN(const Options solver_options, resolve_options(*solver, recipe.solver.options));
  bool block_transforms = false;
  for (const MethodChoice& choice : recipe.transforms) {
    VN_ASSIGN(const MethodDescriptor* transform, find_method(choice.name));
    if (transform->role != MethodDescriptor::Role::transform) {
      return fail(ErrorCode::invalid, "recipe {}: {} is a solver, not a transform", recipe.name, transform->name);
    }
    VN_TRY(resolve_options(*transform, choice.options));
    block_transforms |= transform->make_transform != nullptr;
  }
  const bool static_ranges = recipe.activations.bits < 16 && !recipe.activations.dynamic;
  const bool gathers = options.imatrix.empty() && solver->needs_importance && solver->needs_importance(solver_options);
  plan.calibrated = solver->needs_hessian || gathers || solver->needs_calibration || block_transforms || static_ranges;
  VN_TRY(is_gguf_path(plan.checkpoint->folder()) ? attach_gguf(plan) : attach_graph(plan));
  VN_ASSIGN(std::vector<TensorEntry> tensors, model_tensors(plan));
  const DType added_dtype = head_dtype(plan, tensors);
  VN_TRY(rewrite_model(plan));

  VN_TRY(expand_layer_sets(plan.recipe, plan.graph ? plan.graph->layers : 0));
  plan.output.checkpoint = plan.checkpoint.get();
  plan.output.recipe_yaml = recipe.yaml();
  plan.output.max_shard_bytes = options.max_shard_bytes;
  const bool column_groups = solver->column_groups && solver->column_groups(solver_options);
  add_rewritten(plan, added_dtype, tensors);
  VN_ASSIGN(plan.output.weights, plan_weights(tensors, plan.graph ? &*plan.graph : nullptr, plan.recipe, column_groups,
                                              plan.output.ignored));
  if (std::none_of(plan.output.weights.begin(), plan.output.weights.end(),
                   [](const WeightPlan& w) { return w.grid.has_value(); })) {
    return with_hint(fail(ErrorCode::invalid, "{}: recipe {} selects no tensor", options.model, recipe.name),
                     "look at the names with `vernier inspect`, and at ignore and overrides in the recipe");
  }
  if (!options.imatrix.empty()) VN_TRY(attach_importance(plan));
  VN_ASSIGN(plan.container, choose_container(plan));
  VN_ASSIGN(plan.shards, place_tensors(*plan.container, plan.output));

  VN_ASSIGN(plan.companions, companions_of(options.model, *plan.checkpoint));
  VN_ASSIGN(const Json config, plan.container->config(plan.output));
  plan.output_bytes = static_cast<std::int64_t>(dump_json(config).size() + 1 + plan.output.recipe_yaml.size());
  for (const PlannedShard& shard : plan.shards) plan.output_bytes += shard.plan.file_bytes();
  if (wants_index(plan)) plan.output_bytes += static_cast<std::int64_t>(shard_index(plan.shards).size());
  for (const std::string& file : plan.companions.copied) plan.output_bytes += file_bytes(options.model + "/" + file);
  for (const MadeFile& file : plan.companions.made) plan.output_bytes += static_cast<std::int64_t>(file.text.size());

  plan.memory_bytes = options.memory_bytes > 0 ? options.memory_bytes : available_bytes() / 4 * 3;
  VN_TRY(estimate_costs(plan, recipe.calibration.samples, recipe.calibration.ctx));
  if (probe) plan.seconds = probe_seconds(plan);
  return plan;
}

bool wants_index(const Plan& plan) { return plan.shards.size() > 1 && !plan.container->place; }

std::string shard_index(const std::vector<PlannedShard>& shards) {
  Json map = Json::object();
  std::int64_t total = 0;
  for (const PlannedShard& shard : shards) {
    total += shard.plan.data_bytes;
    for (const TensorEntry& entry : shard.plan.entries) append_member(map, entry.name, shard.file);
  }
  return dump_json(Json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}) + "\n";
}

}  // namespace vernier
