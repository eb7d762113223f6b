#include "pipeline/stream.h"

#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/threads.h"
#include "pipeline/plan_weights.h"
#include "tensor/convert.h"
#include "tensor/finite.h"

namespace vernier {
namespace {

constexpr std::int64_t copy_elements = std::int64_t{4} << 20;
constexpr std::int64_t decode_rows_at_once = 16;  // of one worker

Error non_finite(const std::string& model, const WeightPlan& weight, std::int64_t element, float value) {
  const std::int64_t cols =
      weight.shape.rank() > 1 ? weight.shape.elements() / weight.shape[0] : weight.shape.elements();
  return with_hint(fail(ErrorCode::invalid, "{}: tensor {} holds {} at row {}, column {}", model, weight.name, value,
                        cols ? element / cols : 0, cols ? element % cols : 0),
                   "the checkpoint is damaged; fetch it again");
}

// Rows [first, first + out.rows) of `matrix`, on all workers.
void decode_all(const WeightMatrix& matrix, std::int64_t first, Matrix<float> out) {
  parallel_ranges(out.rows, decode_rows_at_once, [&](std::int64_t begin, std::int64_t end) {
    matrix.decode_rows(first + begin, end - begin, out.row(begin));
  });
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::vector<Step> plan_steps(const Plan& plan) {
  std::map<std::string, int> graph_of;  // tensor -> index into `steps`
  std::vector<Step> steps;
  if (plan.graph) {
    const auto graphs = plan.graph->graphs();
    for (std::size_t i = 0; i < graphs.size(); ++i) {
      const bool block = i > 0 && i + 1 < graphs.size();
      steps.push_back({graphs[i]->name, block ? static_cast<int>(i) - 1 : -1, {}});
      for (const TensorRef& tensor : graphs[i]->tensors) graph_of.emplace(tensor.name, static_cast<int>(i));
    }
  }
  Step rest{"other tensors", -1, {}};
  for (std::size_t w = 0; w < plan.output.weights.size(); ++w) {
    const WeightPlan& weight = plan.output.weights[w];
    const auto graph = graph_of.find(weight.name);
    if (graph != graph_of.end()) {
      steps[graph->second].weights.push_back(w);
    } else if (weight.grid) {
      steps.push_back({weight.name, -1, {w}});
    } else {
      rest.weights.push_back(w);
    }
  }
  if (!rest.weights.empty()) steps.push_back(std::move(rest));
  return steps;
}

double step_work(const Plan& plan, const Step& step) {
  if (plan.calibrated && step.block >= 0) {
    const Recipe::Calibration& calibration = plan.recipe.calibration;
    return BlockEngine::block_work(plan.graph->blocks[step.block], calibration.samples * calibration.ctx);
  }
  double work = 0;
  for (std::size_t w : step.weights) {
    if (plan.output.weights[w].grid) work += static_cast<double>(plan.output.weights[w].shape.elements());
  }
  return work;
}

double plan_work(const Plan& plan) {
  double work = 0;
  for (const Step& step : plan_steps(plan)) work += step_work(plan, step);
  return work;
}

Stream::Stream(Plan& plan, OutputFolder& output, std::unique_ptr<BlockEngine> engine,
               std::function<void(double, std::string_view)> progress)
    : plan_(plan), output_(output), engine_(std::move(engine)), progress_(std::move(progress)) {
  if (!plan.output.rewritten) return;
  for (const Graph* graph : plan.output.rewritten->graph().graphs())
    for (const TensorRef& tensor : graph->tensors) rewritten_.insert(tensor.name);
}

Stream::~Stream() = default;

Status Stream::run(const Step& step, std::vector<TensorRecord>& records) {
  std::set<std::string> written;
  if (engine_ && step.block >= 0) {
    std::map<std::string, std::size_t> index;
    for (std::size_t w : step.weights) index[plan_.output.weights[w].name] = w;
    engine_->on_progress = [&](double work) { progress_(work, step.name); };
    std::vector<std::string> notes;
    VN_TRY(engine_->run_block(
        step.block,
        [&](BlockTensor tensor) -> Status {
          const auto slot = index.find(tensor.name);
          if (slot == index.end())
            return fail(ErrorCode::failed, "{} changed tensor {}, which is another block's", step.name, tensor.name);
          WeightPlan& weight = plan_.output.weights[slot->second];
          if (weight.grid && tensor.part) {
            VN_TRY(write_quantized(weight, tensor, records));
          } else if (!weight.grid && tensor.dense) {
            VN_TRY(write_dense(weight, *tensor.dense));
          } else {
            return fail(ErrorCode::failed, "{}: planned {}, produced {}", tensor.name, weight.grid ? "codes" : "floats",
                        tensor.part ? "codes" : "floats");
          }
          written.insert(tensor.name);
          return {};
        },
        notes));
    for (std::string& note : notes) plan_.notes.push_back(fmt::format("{}: {}", step.name, note));
  }
  for (std::size_t w : step.weights) {
    WeightPlan& weight = plan_.output.weights[w];
    if (written.count(weight.name)) continue;
    VN_TRY(check_interrupt());
    VN_TRY(weight.grid ? quantize_data_free(weight, records) : copy(weight));
    plan_.checkpoint->release(weight.name);
  }
  if (plan_.output.rewritten) {
    for (const Graph* graph : plan_.output.rewritten->graph().graphs())
      if (graph->name == step.name) plan_.output.rewritten->release(*graph);
  }
  trim_heap();
  return {};
}

Status Stream::forget(const Step& step) { return engine_ && step.block >= 0 ? engine_->forget(step.block) : Status(); }

Status Stream::quantize_data_free(WeightPlan& weight, std::vector<TensorRecord>& records) {
  const auto begin = std::chrono::steady_clock::now();
  if (!solver_) {
    // Weights that the engine does not reach (a head asked for by name) are rounded to nearest.
    VN_ASSIGN(const MethodDescriptor* chosen, find_method(plan_.recipe.solver.name));
    VN_ASSIGN(const MethodDescriptor* method,
              chosen->needs_hessian ? find_method("rtn") : Result<const MethodDescriptor*>(chosen));
    VN_ASSIGN(const Options options,
              resolve_options(
                  *method, chosen == method ? plan_.recipe.solver.options : decltype(plan_.recipe.solver.options){}));
    solver_ = method->make_solver(options);
  }
  VN_ASSIGN(const Tensor values, float_values(weight));
  plan_.checkpoint->release(weight.name);
  if (const auto at = first_not_finite(values.as<float>()); at >= 0) {
    return non_finite(plan_.options.model, weight, at, values.as<float>()[at]);
  }
  BlockTensor tensor;
  tensor.name = weight.name;
  SolveInput input;
  input.name = weight.name;
  input.weight = values.matrix();
  VN_ASSIGN(input.grid, make_grid(*weight.grid));
  VN_ASSIGN(const auto range, make_range(range_spec(weight_spec_for(plan_.recipe, weight.name))));
  input.range = range.get();
  const auto importance = plan_.importance.of_weight.find(weight.name);
  if (importance != plan_.importance.of_weight.end()) input.importance = importance->second;
  VN_ASSIGN(tensor.part, solver_->solve(input, tensor.report));
  tensor.activation = weight.activation;
  tensor.seconds = seconds_since(begin);
  VN_TRY(write_quantized(weight, tensor, records));
  progress_(static_cast<double>(weight.shape.elements()), weight.name);
  return {};
}

Status Stream::write_quantized(WeightPlan& weight, const BlockTensor& tensor, std::vector<TensorRecord>& records) {
  if (tensor.activation) weight.activation = tensor.activation;
  const std::vector<TensorEntry> entries = plan_.container->layout(weight);
  VN_ASSIGN(const auto stored, plan_.container->encode(weight, *tensor.part));
  for (std::size_t i = 0; i < entries.size(); ++i) VN_TRY(output_.write(entries[i].name, stored[i].bytes()));
  TensorRecord record;
  record.name = weight.name;
  record.grid = *weight.grid;
  record.bits_per_weight = tensor.part->grid->bits_per_weight(tensor.part->rows, tensor.part->cols);
  record.report = tensor.report;
  record.seconds = tensor.seconds;
  record.tokens = tensor.tokens;
  record.activation = weight.activation;
  records.push_back(std::move(record));
  return {};
}

Status Stream::write_dense(const WeightPlan& weight, const Tensor& values) {
  Tensor stored(weight.dtype, weight.shape);
  from_float(values.as<float>(), weight.dtype, stored.bytes());
  return write_copied(weight, stored.view());
}

Status Stream::write_copied(const WeightPlan& weight, const TensorView& values) {
  if (!plan_.container->rewrite) return output_.write(weight.name, values.bytes);
  VN_ASSIGN(const auto rewritten, plan_.container->rewrite(weight, values));
  return output_.write(plan_.container->layout(weight)[0].name, rewritten ? rewritten->bytes() : values.bytes);
}

Result<Tensor> Stream::float_values(const WeightPlan& weight) const {
  if (!rewritten(weight.name)) {
    VN_ASSIGN(const TensorView view, plan_.checkpoint->view(weight.name));
    return to_float_tensor(view, weight.name);
  }
  if (weight.shape.rank() != 2) return plan_.output.rewritten->vector(weight.name);
  VN_ASSIGN(const auto matrix, plan_.output.rewritten->matrix(weight.name));
  Tensor values(DType::f32, weight.shape);
  decode_all(*matrix, 0, values.matrix());
  return values;
}

Status Stream::copy_rewritten(const WeightPlan& weight) {
  if (weight.shape.rank() != 2) {
    VN_ASSIGN(const Tensor values, plan_.output.rewritten->vector(weight.name));
    if (const auto at = first_not_finite(values.as<float>()); at >= 0)
      return non_finite(plan_.options.model, weight, at, values.as<float>()[at]);
    return write_dense(weight, values);
  }
  VN_ASSIGN(const auto matrix, plan_.output.rewritten->matrix(weight.name));
  const std::int64_t cols = matrix->cols(), row_bytes = cols * size_bytes(weight.dtype);
  // What a container rewrites it sees whole.
  const bool whole = plan_.container->rewrite != nullptr;
  const std::int64_t at_once = whole ? matrix->rows() : std::max<std::int64_t>(1, copy_elements / cols);
  for (std::int64_t first = 0; first < matrix->rows(); first += at_once) {
    const std::int64_t rows = std::min(at_once, matrix->rows() - first);
    Tensor values(DType::f32, {rows, cols}), stored(weight.dtype, {rows, cols});
    decode_all(*matrix, first, values.matrix());
    if (const auto at = first_not_finite(values.as<float>()); at >= 0)
      return non_finite(plan_.options.model, weight, first * cols + at, values.as<float>()[at]);
    from_float(values.as<float>(), weight.dtype, stored.bytes());
    if (whole) return write_copied(weight, stored.view());
    VN_TRY(output_.write_part(weight.name, first * row_bytes, stored.bytes()));
  }
  return {};
}

Status Stream::copy(const WeightPlan& weight) {
  if (rewritten(weight.name)) return copy_rewritten(weight);
  VN_ASSIGN(const TensorView view, plan_.checkpoint->view(weight.name));
  const std::int64_t elements = weight.shape.elements(), width = size_bytes(weight.dtype);
  std::vector<float> values;
  for (std::int64_t first = 0; first < elements; first += copy_elements) {
    const std::int64_t count = std::min(copy_elements, elements - first);
    if (is_float(weight.dtype)) {
      values.resize(static_cast<std::size_t>(count));
      to_float(view, first, values);
      if (const auto at = first_not_finite(values); at >= 0) {
        return non_finite(plan_.options.model, weight, first + at, values[at]);
      }
    }
    if (plan_.container->rewrite) continue;
    const auto bytes =
        view.bytes.subspan(static_cast<std::size_t>(first * width), static_cast<std::size_t>(count * width));
    VN_TRY(output_.write_part(weight.name, first * width, bytes));
    plan_.checkpoint->files()[plan_.checkpoint->find(weight.name)->file]->release(bytes);
  }
  if (plan_.container->rewrite) return write_copied(weight, view);
  return {};
}

}  // namespace vernier
