#include "pipeline/allocate/measure.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "arch/edges.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/threads.h"
#include "methods/method.h"
#include "pipeline/allocate/divergence.h"
#include "pipeline/block_engine.h"
#include "pipeline/block_forward.h"
#include "pipeline/block_weights.h"
#include "pipeline/plan_weights.h"

namespace vernier {
namespace {

constexpr std::int64_t rows_at_once = 32;

Result<std::unique_ptr<Solver>> nearest_solver() {
  VN_ASSIGN(const MethodDescriptor* method, find_method("rtn"));
  VN_ASSIGN(const Options options, resolve_options(*method, {}));
  return method->make_solver(options);
}

class Meter {
 public:
  Meter(const MeasureInput& input, std::span<const AllocatedTensor> tensors,
        const std::function<bool(std::size_t)>& known,
        const std::function<Status(std::size_t, std::vector<Sensitivity>)>& emit)
      : input_(input), tensors_(tensors), known_(known), emit_(emit), model_(input.source.graph()) {
    for (std::size_t t = 0; t < tensors.size(); ++t) index_[tensors[t].name] = t;
  }

  Status run() {
    VN_ASSIGN(solver_, nearest_solver());
    if (input_.divergence) {
      VN_ASSIGN(divergence_,
                OutputDivergence::make(input_.source, input_.calibration, input_.executor, divergence_tokens));
    }
    for (const Graph* graph : model_.graphs()) {
      VN_TRY(visit(*graph));
      if (divergence_) VN_TRY(divergence_->advance());
      input_.source.release(*graph);
    }
    return hidden_->remove();
  }

 private:
  using Hessians = std::map<ValueId, Hessian>;

  bool wanted(const std::string& name) const {
    const auto at = index_.find(name);
    return at != index_.end() && tensors_[at->second].candidates.size() > 1 && !known_(at->second) &&
           !done_.contains(at->second);
  }

  Status visit(const Graph& graph) {
    VN_ASSIGN(const BlockWeights weights, BlockWeights::load(input_.source, graph));
    Hessians hessians;
    for (const Op& op : graph.ops)
      if (op.kind == OpKind::linear && wanted(graph.tensors[op.weight].name))
        hessians.try_emplace(op.inputs[0], graph.values[op.inputs[0]].width);
    VN_TRY(forward(graph, weights.floating(), hessians));
    for (const std::vector<int>& group : linear_groups(graph)) {
      const auto hessian = hessians.find(graph.ops[group[0]].inputs[0]);
      for (const int op : group)
        VN_TRY(measure(graph, graph.ops[op].weight, weights, hessian == hessians.end() ? nullptr : &hessian->second));
    }
    for (const Op& op : graph.ops)
      if (op.kind == OpKind::embedding) VN_TRY(measure(graph, op.weight, weights, nullptr));
    return {};
  }

  // The calibration tokens through the graph: second moments of `hessians`, and the next graph's input.
  Status forward(const Graph& graph, const WeightTable& weights, Hessians& hessians) {
    const bool head = &graph == &model_.head;
    if (head && hessians.empty()) return {};
    const SampleShape shape{input_.calibration.samples, input_.calibration.ctx};
    if (!hidden_) {
      VN_ASSIGN(hidden_,
                SpillFile::open(input_.scratch + "/sensitivity.hidden", DType::f32, shape.tokens(), model_.hidden));
    }
    std::vector<ValueId> targets;
    for (const auto& entry : hessians) targets.push_back(entry.first);
    if (!head) targets.push_back(graph.output);
    for (ForwardUnit& unit : shape.units(BlockEngine::forward_sequences(shape.ctx))) {
      VN_TRY(check_interrupt());
      ValueTable values(graph);
      if (graph.input < 0) {
        unit.batch.ids = std::span(input_.calibration.ids).subspan(unit.first_row, unit.batch.rows());
      } else {
        Buffer x(unit.batch.rows(), model_.hidden);
        VN_TRY(read_rows(*hidden_, unit.first_row, x.matrix()));
        values.set(graph.input, std::move(x));
      }
      VN_TRY(input_.executor.evaluate(graph, weights, unit.batch, values, targets));
      for (auto& [value, hessian] : hessians) hessian.add(values[value].matrix());
      if (head) continue;
      const Matrix<const float> output = std::as_const(values)[graph.output].matrix();
      if (first_bad_row(output) >= 0)
        return with_hint(
            fail(ErrorCode::failed, "{}: {}: the hidden states are not finite", input_.source.path(), graph.name),
            "look at the weights with `vernier inspect`");
      VN_TRY(write_rows(*hidden_, unit.first_row, output));  // in place: this unit is not read again
    }
    for (auto& entry : hessians) entry.second.finish();
    return {};
  }

  Status measure(const Graph& graph, TensorId weight, const BlockWeights& weights, const Hessian* hessian) {
    const std::string& name = graph.tensors[weight].name;
    if (!wanted(name)) return {};
    const std::size_t t = index_.at(name), count = tensors_[t].candidates.size();
    if (hessian && hessian->tokens() == 0) hessian = nullptr;  // an expert no token went to
    VN_ASSIGN(const FloatMatrix values, weights.values(weight));
    std::vector<float> importance;
    for (std::int64_t c = 0; hessian && c < hessian->columns(); ++c) importance.push_back(hessian->matrix()(c, c));
    std::vector<Sensitivity> found(count);
    for (std::size_t c = 0; c < count; ++c) {
      VN_TRY(check_interrupt());
      const CandidateGrid& candidate = tensors_[t].candidates[c];
      SolveInput in{.name = name, .weight = values.values, .hessian = hessian, .importance = importance};
      VN_ASSIGN(in.grid, make_grid(candidate.grid));
      VN_ASSIGN(const auto range, make_range(range_spec(candidate.weights)));
      in.range = range.get();
      SolveReport report;
      VN_ASSIGN(const GridPart part, solver_->solve(in, report));
      found[c].error = report.error;
      found[c].measured = divergence_ && (c == 0 || c == count / 2);
      if (!found[c].measured) continue;
      Tensor decoded(DType::f32, tensors_[t].shape);
      const Matrix<float> out = decoded.matrix();
      parallel_ranges(out.rows, rows_at_once, [&](std::int64_t first, std::int64_t last) {
        part.decode_rows(first, last - first, out.row(first));
      });
      VN_ASSIGN(found[c].cost, divergence_->with(name, dense_matrix(std::move(decoded))));
    }
    if (divergence_) {
      interpolate_costs(found);
    } else {
      // Of what was tried on a model with known divergences the scale that follows them best: docs/allocation.md.
      for (Sensitivity& one : found) one.cost = one.error * static_cast<double>(tensors_[t].shape.elements());
    }
    done_.insert(t);
    return emit_(t, std::move(found));
  }

  const MeasureInput& input_;
  std::span<const AllocatedTensor> tensors_;
  const std::function<bool(std::size_t)>& known_;
  const std::function<Status(std::size_t, std::vector<Sensitivity>)>& emit_;
  const ModelGraph& model_;
  std::map<std::string, std::size_t> index_;
  std::set<std::size_t> done_;  // a tied head's tensor is met twice
  std::unique_ptr<Solver> solver_;
  std::unique_ptr<OutputDivergence> divergence_;
  std::unique_ptr<SpillFile> hidden_;
};

}  // namespace

Status measure_sensitivities(const MeasureInput& input, std::span<const AllocatedTensor> tensors,
                             const std::function<bool(std::size_t)>& known,
                             const std::function<Status(std::size_t, std::vector<Sensitivity>)>& emit) {
  return Meter(input, tensors, known, emit).run();
}

void interpolate_costs(std::span<Sensitivity> candidates) {
  constexpr double least = 1e-30;                // of an error or a divergence that is taken for 0
  std::vector<std::pair<double, double>> known;  // log error, log of the factor; by rising error
  for (const Sensitivity& one : candidates) {
    const double error = std::log(std::max(one.error, least));
    if (one.measured) known.emplace_back(error, std::log(std::max(one.cost, least)) - error);
  }
  if (known.empty()) return;
  std::sort(known.begin(), known.end());
  for (Sensitivity& one : candidates) {
    if (one.measured) continue;
    const double error = std::log(std::max(one.error, least));
    const auto above = std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.first >= error; });
    double factor = above == known.end() ? known.back().second : above->second;
    if (above != known.begin() && above != known.end() && above->first > (above - 1)->first) {
      const auto below = above - 1;
      factor = below->second + (above->second - below->second) * (error - below->first) / (above->first - below->first);
    }
    one.cost = one.error * std::exp(factor);
  }
}

double measure_work(const ModelGraph& model, std::span<const AllocatedTensor> tensors, const Recipe& recipe,
                    bool divergence) {
  std::map<std::string, const AllocatedTensor*> index;
  for (const AllocatedTensor& tensor : tensors)
    if (tensor.candidates.size() > 1) index[tensor.name] = &tensor;
  const std::vector<const Graph*> graphs = model.graphs();
  const auto tokens = static_cast<double>(recipe.calibration.samples * recipe.calibration.ctx);
  const double scored = std::min(tokens, static_cast<double>(divergence_tokens));
  double work = 0, after = 0;  // multiply-adds of a token from the graph to the logits
  for (std::size_t g = graphs.size(); g-- > 0;) {
    double forward = 0, errors = 0;
    std::map<ValueId, double> widths;
    int measured = 0;
    for (const Op& op : graphs[g]->ops) {
      if (op.kind != OpKind::linear && op.kind != OpKind::embedding) continue;
      const TensorRef& weight = graphs[g]->tensors[op.weight];
      const auto elements = static_cast<double>(weight.shape.elements()),
                 columns = static_cast<double>(weight.shape[1]);
      if (op.kind == OpKind::linear) forward += elements;
      const auto found = index.find(weight.name);
      if (found == index.end()) continue;
      measured += 2;
      if (op.kind == OpKind::linear)
        errors += static_cast<double>(found->second->candidates.size()) * elements * columns;
      if (op.kind == OpKind::linear) widths[op.inputs[0]] = columns;
    }
    after += forward;
    work += tokens * (g + 1 < graphs.size() ? forward : 0) + errors;
    for (const auto& [value, width] : widths) work += tokens * width * width / 2;
    if (divergence) work += measured * scored * after;
  }
  return work;
}

std::int64_t measure_bytes(const ModelGraph& model, std::span<const AllocatedTensor> tensors, bool divergence) {
  constexpr std::int64_t worker_scratch_bytes = std::int64_t{32} << 20, unit_tokens = 1024, floats = sizeof(float);
  const auto solver = nearest_solver();
  std::int64_t solving = 0, most = 0;
  for (const AllocatedTensor& tensor : tensors) {
    // f32 weights, decoded values and their difference, codes with their parameters.
    const std::int64_t own = tensor.shape.elements() * (3 * floats + 2);
    const std::int64_t working =
        solver.ok() ? (*solver)->working_bytes(tensor.shape[0], tensor.shape[1]) : std::int64_t{0};
    solving = std::max(solving, own + working);
  }
  for (const Graph* graph : model.graphs()) {
    std::map<ValueId, std::int64_t> widths;
    std::int64_t values = 0;
    for (const Op& op : graph->ops)
      if (op.kind == OpKind::linear) widths[op.inputs[0]] = graph->tensors[op.weight].shape[1];
    for (const Value& value : graph->values) values += value.expert < 0 ? value.width : 0;
    std::int64_t hessians = 0;
    for (const auto& [value, width] : widths) hessians += Hessian::bytes(width);
    if (graph != &model.head) most = std::max(most, hessians + floats * unit_tokens * values);
  }
  return most + solving + worker_scratch_bytes * thread_count() +
         (divergence ? OutputDivergence::bytes(model, divergence_tokens) : 0);
}

}  // namespace vernier
