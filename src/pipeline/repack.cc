#include "pipeline/repack.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "formats/range.h"
#include "io/files.h"
#include "pipeline/output_folder.h"
#include "pipeline/plan.h"
#include "pipeline/plan_weights.h"
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

constexpr std::size_t bytes_at_once = std::size_t{16} << 20;  // copied

Status write_weight(const Plan& plan, const ModelSource& source, const SourceTensor& tensor, const WeightPlan& weight,
                    OutputFolder& output) {
  const std::vector<TensorEntry> entries = plan.container->layout(weight);
  if (!weight.grid) {
    VN_ASSIGN(const TensorView view, plan.checkpoint->view(weight.name));
    std::optional<Tensor> rewritten;
    if (plan.container->rewrite) {
      VN_ASSIGN(rewritten, plan.container->rewrite(weight, view));
    }
    if (rewritten) return output.write(entries[0].name, std::as_const(*rewritten).bytes());
    const auto& file = plan.checkpoint->files()[plan.checkpoint->find(weight.name)->file];
    for (std::size_t at = 0; at < view.bytes.size(); at += bytes_at_once) {
      const auto piece = view.bytes.subspan(at, std::min(bytes_at_once, view.bytes.size() - at));
      VN_TRY(output.write_part(entries[0].name, static_cast<std::int64_t>(at), piece));
      file->release(piece);  // mapped pages count as resident until then
    }
    return {};
  }
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

struct Repacking {
  std::unique_ptr<ModelSource> source;
  Plan plan;  // without shards
};

// What will be written, before the container is asked whether it holds it.
Result<Repacking> plan_repacking(const RepackOptions& options) {
  VN_ASSIGN(auto source, open_model(options.model));
  if (source->container() == "gguf")
    return with_hint(fail(ErrorCode::unsupported, "{}: GGUF files are not repacked", options.model),
                     "they run as they are: vernier run");
  Repacking result{std::move(source), {}};
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
  plan.companions = companion_files(options.model);
  std::erase(plan.companions, "recipe.yaml");  // written below, from what the source says
  if (const std::string recipe = options.model + "/recipe.yaml"; file_exists(recipe)) {
    VN_ASSIGN(plan.output.recipe_yaml, read_text_file(recipe));
  } else {
    plan.output.recipe_yaml = fmt::format("# repacked from {}\n", result.source->container());
  }

  const GridSpec head_grid{"int", options.head_bits, true, 0, DType::bf16};
  const std::string head = options.head_bits > 0 ? own_head(result.source->graph()) : std::string();
  if (options.head_bits > 0 && head.empty())
    log_warn("{}: the head shares the embedding's weight, which stays in float", options.model);
  for (const SourceTensor& tensor : result.source->tensors()) {
    VN_ASSIGN(WeightPlan weight, plan_weight(*result.source, *plan.checkpoint, tensor, options.container,
                                             tensor.name == head ? &head_grid : nullptr));
    plan.output.weights.push_back(std::move(weight));
  }
  plan.output.ignored = unquantized_linears(plan.output.weights, &result.source->graph());
  if (plan.container->prepare) plan.container->prepare(plan.output);
  return result;
}

}  // namespace

Result<std::vector<Refusal>> repack_refusals(const RepackOptions& options) {
  VN_ASSIGN(const Repacking repacking, plan_repacking(options));
  const Plan& plan = repacking.plan;
  std::vector<Refusal> refusals;
  OutputPlan one = plan.output;  // with one quantized weight at a time
  for (WeightPlan& weight : one.weights) weight.grid.reset();
  for (std::size_t i = 0; i < one.weights.size(); ++i) {
    const WeightPlan plain = std::exchange(one.weights[i], plan.output.weights[i]);
    const WeightPlan& weight = one.weights[i];
    if (weight.grid) {
      if (const Status status = plan.container->accepts(one); !status.ok()) {
        // The table has tensor and grid in columns of their own.
        std::string reason = status.error().message;
        for (const std::string& known : {weight.grid->text() + ": ", weight.name + ": "})
          if (const auto at = reason.find(known); at != std::string::npos) reason.erase(0, at + known.size());
        refusals.push_back({weight.name, weight.grid->text(), std::move(reason)});
      }
    }
    one.weights[i] = plain;
  }
  return refusals;
}

Result<RepackResult> repack(const RepackOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  if (file_exists(options.out) && !list_directory(options.out).empty())
    return with_hint(fail(ErrorCode::exists, "{}: exists already", options.out), "choose another folder with -o");
  VN_ASSIGN(Repacking repacking, plan_repacking(options));
  Plan& plan = repacking.plan;
  const ModelSource* const source = repacking.source.get();
  RepackResult result;
  for (const WeightPlan& weight : plan.output.weights) (weight.grid ? result.quantized : result.copied) += 1;
  VN_TRY(plan.container->accepts(plan.output));
  VN_ASSIGN(plan.shards, place_tensors(*plan.container, plan.output));

  VN_ASSIGN(OutputFolder output, OutputFolder::open(plan));
  Progress progress(options.container == "vernier" ? "pack" : "convert",
                    static_cast<double>(plan.output.weights.size()));
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
