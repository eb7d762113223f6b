#include "pipeline/allocate/divergence.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/threads.h"
#include "eval/scorer.h"
#include "kernels/exp/exp.h"
#include "pipeline/block_engine.h"

namespace vernier {
namespace {

constexpr std::int64_t kept_logits_bytes = std::int64_t{128} << 20;

// KL(reference || model) of one token; both rows are overwritten. Differences of logits are summed in double: what a
// single tensor does to a prediction is near the rounding of floats.
double row_divergence(float* reference, float* model, std::int64_t n) {
  static const kernels::ExpSum exp_sum = kernels::exp_sum_kernel();
  static const kernels::Maximum maximum = kernels::maximum_kernel();
  const float top = maximum(reference, n), model_top = maximum(model, n);
  thread_local std::vector<float> difference;
  difference.resize(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) difference[i] = reference[i] - model[i];
  const double sum = exp_sum(reference, n, top), model_sum = exp_sum(model, n, model_top);
  double mean = 0;
  for (std::int64_t i = 0; i < n; ++i) mean += double{reference[i]} * difference[i];
  const double kl = mean / sum - (double{top} - model_top + std::log(sum / model_sum));
  return std::isnan(kl) ? kl : std::max(kl, 0.0);
}

}  // namespace

Result<std::unique_ptr<OutputDivergence>> OutputDivergence::make(const ModelSource& source,
                                                                 const CalibrationSet& calibration, Executor& executor,
                                                                 std::int64_t tokens) {
  std::unique_ptr<OutputDivergence> made(new OutputDivergence(source, executor));
  made->graphs_ = source.graph().graphs();
  for (const Graph* graph : made->graphs_) {
    VN_ASSIGN(WeightTable table, load_weights(source, *graph));
    table.activations.clear();
    made->tables_.push_back(std::move(table));
  }
  const std::int64_t ctx = calibration.ctx, wanted = std::min(calibration.samples, (tokens + ctx - 1) / ctx);
  const std::int64_t at_once = BlockEngine::forward_sequences(ctx);
  for (std::int64_t first = 0; first < wanted; first += at_once) {
    std::vector<TokenId> ids;
    const std::int64_t last = std::min(first + at_once, wanted);
    for (std::int64_t s = first; s < last; ++s) {
      const auto from = calibration.ids.begin() + s * calibration.samples / wanted * ctx;
      ids.insert(ids.end(), from, from + ctx);
    }
    made->ids_.push_back(std::move(ids));
    made->batches_.push_back(Batch::uniform(last - first, ctx));
    made->batches_.back().ids = made->ids_.back();
  }
  made->tokens_ = wanted * ctx;
  made->inputs_.resize(made->batches_.size());
  for (std::size_t unit = 0; unit < made->batches_.size(); ++unit) {
    VN_ASSIGN(Buffer reference, made->hidden(made->tables_, unit));
    made->reference_.push_back(std::move(reference));
  }
  const std::int64_t vocab = source.graph().vocab;
  if (made->tokens_ * vocab * static_cast<std::int64_t>(sizeof(float)) > kept_logits_bytes) return made;
  for (const Buffer& hidden : made->reference_) {
    VN_ASSIGN(Buffer logits, made->logits(made->tables_.back(), hidden, 0, hidden.rows));
    made->reference_logits_.push_back(std::move(logits));
  }
  return made;
}

Result<Buffer> OutputDivergence::run(std::size_t graph, const WeightTable& weights, const Batch& batch,
                                     const Buffer& input) const {
  const Graph& g = *graphs_[graph];
  ValueTable values(g);
  if (g.input >= 0) values.set(g.input, input);
  const ValueId target[] = {g.output};
  VN_TRY(executor_.evaluate(g, weights, batch, values, target));
  return values.take(g.output);
}

Result<Buffer> OutputDivergence::hidden(const std::vector<WeightTable>& tables, std::size_t unit) const {
  Buffer x = inputs_[unit];
  for (std::size_t g = place_; g + 1 < graphs_.size(); ++g) {
    VN_ASSIGN(x, run(g, tables[g], batches_[unit], x));
  }
  return x;
}

Result<Buffer> OutputDivergence::logits(const WeightTable& head, const Buffer& hidden, std::int64_t first,
                                        std::int64_t rows) const {
  Buffer x(rows, hidden.cols);
  std::copy_n(hidden.matrix().row(first), rows * hidden.cols, x.data.data());
  return run(graphs_.size() - 1, head, Batch::uniform(1, rows), x);
}

Status OutputDivergence::divergences(const WeightTable& head, const Buffer& hidden, std::size_t unit,
                                     std::vector<double>& out) const {
  const std::int64_t vocab = source_.graph().vocab;
  const bool kept = !reference_logits_.empty();
  const std::int64_t step = kept ? hidden.rows : logits_tile_rows(vocab);
  for (std::int64_t first = 0; first < hidden.rows; first += step) {
    const std::int64_t rows = std::min(step, hidden.rows - first);
    VN_ASSIGN(Buffer model, logits(head, hidden, first, rows));
    Buffer reference;
    if (kept) {
      reference = reference_logits_[unit];
    } else {
      VN_ASSIGN(reference, logits(tables_.back(), reference_[unit], first, rows));
    }
    const std::size_t before = out.size();
    out.resize(before + static_cast<std::size_t>(rows));
    parallel_for(rows, [&](std::int64_t r) {
      out[before + r] = row_divergence(reference.matrix().row(r), model.matrix().row(r), vocab);
    });
  }
  return {};
}

Result<double> OutputDivergence::with(const std::string& name, const std::shared_ptr<const WeightMatrix>& matrix) {
  std::vector<WeightTable> tables = tables_;
  for (std::size_t g = 0; g < graphs_.size(); ++g)
    for (std::size_t t = 0; t < graphs_[g]->tensors.size(); ++t)
      if (graphs_[g]->tensors[t].name == name) tables[g].matrices[t] = matrix;
  std::vector<double> all;
  for (std::size_t unit = 0; unit < batches_.size(); ++unit) {
    VN_TRY(check_interrupt());
    VN_ASSIGN(const Buffer x, hidden(tables, unit));
    VN_TRY(divergences(tables.back(), x, unit, all));
  }
  double sum = 0;
  for (const double kl : all) sum += kl;
  const double mean = sum / static_cast<double>(all.size());
  if (!std::isfinite(mean))
    return fail(ErrorCode::failed, "{}: with {} as {} the predictions are not finite", source_.path(), name,
                matrix->format_text());
  return mean;
}

Status OutputDivergence::advance() {
  for (std::size_t unit = 0; unit < batches_.size() && place_ + 1 < graphs_.size(); ++unit) {
    VN_ASSIGN(inputs_[unit], run(place_, tables_[place_], batches_[unit], inputs_[unit]));
  }
  ++place_;
  return {};
}

std::int64_t OutputDivergence::bytes(const ModelGraph& model, std::int64_t tokens) {
  std::int64_t widest = model.hidden;
  for (const Graph& block : model.blocks)
    for (const Value& value : block.values) widest = std::max(widest, value.width);
  constexpr std::int64_t live_values = 6, unit_tokens = 1024, floats = sizeof(float);
  return floats * (2 * tokens * model.hidden + live_values * unit_tokens * widest) + 2 * kept_logits_bytes;
}

}  // namespace vernier
