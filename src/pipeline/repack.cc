#include "pipeline/repack.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "formats/range.h"
#include "io/files.h"
#include "pipeline/output_folder.h"
#include "pipeline/plan.h"
#include "tensor/convert.h"

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

Result<WeightPlan> plan_weight(const ModelSource& source, const Checkpoint& checkpoint, const SourceTensor& tensor,
                               std::string_view container, const GridSpec* head) {
  WeightPlan weight;
  weight.name = tensor.name;
  weight.shape = tensor.shape;
  if (const Checkpoint::Entry* stored = checkpoint.find(tensor.name)) weight.dtype = stored->tensor.dtype;
  if (tensor.shape.rank() != 2) return weight;
  weight.grid = tensor.grid;
  weight.column_groups = tensor.column_groups;
  weight.activation = source.activation(tensor.name);
  // Kernels quantize inputs to -127 .. 127; other containers use -128, too.
  if (weight.activation && container == "vernier") weight.activation->full_range = false;
  if (weight.grid) return weight;
  if (!checkpoint.find(tensor.name))
    return with_hint(fail(ErrorCode::unsupported, "{}: {} is stored as {}, whose codes cannot be taken out",
                          source.path(), tensor.name, tensor.format),
                     "repack the model it was made from");
  if (head) weight.grid = *head;
  return weight;
}

constexpr std::int64_t rows_at_once = 4096;  // decoded to floats

// Rounded to nearest, a run of rows at a time. Not for grids per tensor.
Result<GridPart> round_matrix(const WeightMatrix& matrix, const GridSpec& spec, const std::string& name) {
  GridPart part{.rows = matrix.rows(), .cols = matrix.cols()};
  VN_ASSIGN(part.grid, make_grid(spec));
  VN_ASSIGN(const auto range, make_range({}));
  VN_ASSIGN(const MethodDescriptor* rtn, find_method("rtn"));
  VN_ASSIGN(const Options options, resolve_options(*rtn, {}));
  const auto solver = rtn->make_solver(options);
  for (std::int64_t first = 0; first < part.rows; first += rows_at_once) {
    Tensor values(DType::f32, Shape{std::min(rows_at_once, part.rows - first), part.cols});
    matrix.decode_rows(first, values.shape()[0], values.as<float>().data());
    SolveInput input;
    input.name = fmt::format("{} from row {} on", name, first);
    input.weight = std::as_const(values).matrix();
    input.grid = part.grid;
    input.range = range.get();
    SolveReport report;
    VN_ASSIGN(const GridPart rows, solver->solve(input, report));
    part.codes.insert(part.codes.end(), rows.codes.begin(), rows.codes.end());
    part.params.insert(part.params.end(), rows.params.begin(), rows.params.end());
  }
  return part;
}

Status write_weight(const Plan& plan, const ModelSource& source, const SourceTensor& tensor, const WeightPlan& weight,
                    OutputFolder& output) {
  if (!weight.grid) {
    VN_ASSIGN(const TensorView view, plan.checkpoint->view(weight.name));
    VN_TRY(output.write(weight.name, view.bytes));
    plan.checkpoint->release(weight.name);
    return {};
  }
  const std::vector<TensorEntry> entries = plan.container->layout(weight);
  if (tensor.grid && source.container() == plan.container->name) {
    for (const TensorEntry& entry : entries) {
      VN_ASSIGN(const TensorView view, plan.checkpoint->view(entry.name));
      VN_TRY(output.write(entry.name, view.bytes));
      plan.checkpoint->release(entry.name);
    }
    return {};
  }
  VN_ASSIGN(const auto matrix, source.matrix(weight.name));
  VN_ASSIGN(const GridPart part,
            tensor.grid ? source.part(weight.name) : round_matrix(*matrix, *weight.grid, weight.name));
  VN_ASSIGN(const auto stored, plan.container->encode(weight, part));
  for (std::size_t i = 0; i < entries.size(); ++i) VN_TRY(output.write(entries[i].name, stored[i].bytes()));
  return {};
}

}  // namespace

Result<RepackResult> repack(const RepackOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  if (file_exists(options.out) && !list_directory(options.out).empty())
    return with_hint(fail(ErrorCode::exists, "{}: exists already", options.out), "choose another folder with -o");
  VN_ASSIGN(const auto source, open_model(options.model));
  if (source->container() == "gguf")
    return with_hint(fail(ErrorCode::unsupported, "{}: GGUF files are not repacked", options.model),
                     "they run as they are: vernier run");
  Plan plan;
  plan.options.model = options.model;
  plan.options.out = options.out;
  VN_ASSIGN(plan.checkpoint, Checkpoint::open(options.model));
  VN_ASSIGN(plan.container, find_container(options.container));
  plan.output.checkpoint = plan.checkpoint.get();
  plan.output.max_shard_bytes = options.max_shard_bytes;
  plan.companions = companion_files(options.model);
  std::erase(plan.companions, "recipe.yaml");  // written below, from what the source says
  if (const std::string recipe = options.model + "/recipe.yaml"; file_exists(recipe)) {
    VN_ASSIGN(plan.output.recipe_yaml, read_text_file(recipe));
  } else {
    plan.output.recipe_yaml = fmt::format("# repacked from {}\n", source->container());
  }

  const GridSpec head_grid{"int", options.head_bits, true, 0, DType::bf16};
  const std::string head = options.head_bits > 0 ? own_head(source->graph()) : std::string();
  if (options.head_bits > 0 && head.empty())
    log_warn("{}: the head shares the embedding's weight, which stays in float", options.model);
  RepackResult result;
  for (const SourceTensor& tensor : source->tensors()) {
    VN_ASSIGN(WeightPlan weight, plan_weight(*source, *plan.checkpoint, tensor, options.container,
                                             tensor.name == head ? &head_grid : nullptr));
    (weight.grid ? result.quantized : result.copied) += 1;
    plan.output.weights.push_back(std::move(weight));
  }
  VN_TRY(plan.container->accepts(plan.output));
  VN_ASSIGN(plan.shards, place_tensors(*plan.container, plan.output));

  VN_ASSIGN(OutputFolder output, OutputFolder::open(plan));
  Progress progress("pack", static_cast<double>(plan.output.weights.size()));
  for (std::size_t i = 0; i < plan.output.weights.size(); ++i) {
    const WeightPlan& weight = plan.output.weights[i];
    VN_TRY(check_interrupt());
    VN_TRY(write_weight(plan, *source, source->tensors()[i], weight, output));
    progress.advance(1, weight.name);
  }
  VN_TRY(output.finish(plan));
  for (const PlannedShard& shard : plan.shards) result.output_bytes += shard.plan.file_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace vernier
