// solve() = order of columns -> inverse factor (kept for the next linears of the same input) -> sweep of row tiles,
// each by one worker -> per row the best of what was tried.
#include "methods/gptq/solve.h"

#include <algorithm>

#include "base/fail.h"
#include "base/threads.h"
#include "methods/gptq/refine.h"
#include "methods/gptq/sweep.h"
#include "methods/row_error.h"
#include "methods/rtn/round.h"

namespace vernier::gptq {
namespace {

// The loss identity gives a row's error to about this fraction; closer calls are settled by evaluating both directly.
constexpr double identity_tolerance = 1e-2;

// Errors of one row under H, not damped.
struct RowErrors {
  double weight = 0;   // w H w^T
  double nearest = 0;  // of round to nearest under the range's parameters
  double kept = 0;     // of what was kept
};

// The rows of one tile: round to nearest, sweep, choose.
class TileSolver {
 public:
  TileSolver(const SolveInput& input, std::span<const float> frozen, const Prepared& prepared, const SweepPlan& plan,
             std::int64_t first, std::int64_t rows, std::int64_t passes, GridPart& part, std::span<RowErrors> errors)
      : input_(input),
        frozen_(frozen),
        prepared_(prepared),
        plan_(plan),
        part_(part),
        errors_(errors),
        first_(first),
        rows_(rows),
        passes_(passes),
        cols_(part.cols),
        params_(plan.grid.params_per_group()) {}

  void run();
  // Floats held per column and worker.
  static constexpr std::int64_t floats_per_column = 4 * tile_rows;

 private:
  void round_to_nearest();
  void round_frozen();
  std::size_t params_per_row() const { return part_.groups() * params_; }
  std::span<const float> frozen_row(std::int64_t row) const {
    return frozen_.subspan((first_ + row) * params_per_row(), params_per_row());
  }
  void start_sweep();
  void refine();
  void choose(std::span<const double> loss);
  void keep_sweep(std::int64_t row);

  const SolveInput& input_;
  std::span<const float> frozen_;
  const Prepared& prepared_;
  const SweepPlan& plan_;
  GridPart& part_;
  std::span<RowErrors> errors_;
  std::int64_t first_, rows_, passes_, cols_;
  int params_;
  std::vector<float> work_, error_, tile_params_;  // work_: columns in the order of rounding; error_: as they lie
  std::vector<std::uint8_t> codes_;
};

void TileSolver::run() {
  round_to_nearest();
  if (!frozen_.empty()) round_frozen();
  if (!prepared_.factor.u) return;
  std::vector<double> loss(rows_);
  start_sweep();
  sweep(plan_, {{work_.data(), rows_, cols_}, {codes_.data(), rows_, cols_}, tile_params_, loss});
  choose(loss);
  if (passes_ > 0) refine();
}

// From what was kept, and kept where it is better.
void TileSolver::refine() {
  const std::size_t codes = rows_ * cols_, params = rows_ * params_per_row();
  const auto at_codes = part_.codes.begin() + first_ * cols_;
  const auto at_params = part_.params.begin() + static_cast<std::int64_t>(first_ * params_per_row());
  const std::vector<std::uint8_t> old_codes(at_codes, at_codes + static_cast<std::int64_t>(codes));
  const std::vector<float> old_params(at_params, at_params + static_cast<std::int64_t>(params));
  refine_rows(input_.weight, input_.hessian->matrix(), first_, rows_, passes_, part_);
  std::vector<double> forms(rows_);
  part_.decode_rows(first_, rows_, error_.data());
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t c = 0; c < cols_; ++c) error_[r * cols_ + c] -= input_.weight(first_ + r, c);
  quadratic_forms({error_.data(), rows_, cols_}, input_.hessian->matrix(), forms);
  for (std::int64_t r = 0; r < rows_; ++r) {
    if (forms[r] < errors_[r].kept) {
      errors_[r].kept = forms[r];
      continue;
    }
    std::copy_n(old_codes.begin() + r * cols_, cols_, at_codes + r * cols_);
    const auto count = static_cast<std::int64_t>(params_per_row());
    std::copy_n(old_params.begin() + r * count, count, at_params + r * count);
  }
}

// One product for both yardsticks: the rows of W above the errors of round to nearest.
void TileSolver::round_to_nearest() {
  const Matrix<const float> w = input_.weight.rows_slice(first_, rows_);
  std::vector<double> forms(2 * rows_);
  error_.resize(2 * rows_ * cols_);
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const error = error_.data() + (rows_ + r) * cols_;
    std::copy_n(w.row(r), cols_, error_.data() + r * cols_);
    round_row(input_, first_ + r, part_, {error, static_cast<std::size_t>(cols_)});
    for (std::int64_t c = 0; c < cols_; ++c) error[c] -= w(r, c);
  }
  quadratic_forms({error_.data(), 2 * rows_, cols_}, input_.hessian->matrix(), forms);
  for (std::int64_t r = 0; r < rows_; ++r) errors_[r] = {forms[r], forms[rows_ + r], forms[rows_ + r]};
}

// The same under the frozen parameters, kept where it is better.
void TileSolver::round_frozen() {
  GridPart trial{.grid = part_.grid, .rows = rows_, .cols = cols_};
  trial.codes.resize(rows_ * cols_);
  const std::span<const float> params = frozen_.subspan(first_ * params_per_row(), rows_ * params_per_row());
  trial.params.assign(params.begin(), params.end());
  const Matrix<const float> w = input_.weight.rows_slice(first_, rows_);
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const error = error_.data() + r * cols_;
    encode_row(w, r, trial, {error, static_cast<std::size_t>(cols_)});
    for (std::int64_t c = 0; c < cols_; ++c) error[c] -= w(r, c);
  }
  std::vector<double> forms(rows_);
  quadratic_forms({error_.data(), rows_, cols_}, input_.hessian->matrix(), forms);
  for (std::int64_t r = 0; r < rows_; ++r) {
    if (forms[r] >= errors_[r].kept) continue;
    errors_[r].kept = forms[r];
    std::copy_n(trial.codes.data() + r * cols_, cols_, part_.codes.data() + (first_ + r) * cols_);
    std::copy_n(frozen_row(r).data(), params_per_row(), part_.params.data() + (first_ + r) * params_per_row());
  }
}

void TileSolver::start_sweep() {
  const std::int64_t groups = part_.groups();
  work_.resize(rows_ * cols_);
  codes_.resize(rows_ * cols_);
  tile_params_.resize(groups * params_ * tile_rows);
  std::vector<float> row(cols_), fitted(params_per_row());
  for (std::int64_t r = 0; r < rows_; ++r) {
    std::copy_n(input_.weight.row(first_ + r), cols_, row.data());
    for (std::int32_t c : prepared_.dead) row[c] = 0;
    for (std::int64_t i = 0; i < cols_; ++i) work_[r * cols_ + i] = row[plan_.order.column[i]];
    std::span<const float> params = fitted;
    if (plan_.grid.per_tensor())
      params = part_.params;
    else if (fits_tensor(plan_.grid))
      params = std::span(part_.params).subspan((first_ + r) * params_per_row(), params_per_row());
    else if (!frozen_.empty())
      params = frozen_row(r);
    else if (plan_.order.fitted_first)
      fit_row(plan_.grid, *input_.range, row, input_.importance, fitted);
    else
      continue;
    for (std::size_t i = 0; i < params.size(); ++i) tile_params_[i * tile_rows + r] = params[i];
  }
}

// Keeps the sweep's row where its error is lower. The loss is the error under the damped Hessian, so lambda |w - q|^2
// comes off; where that leaves a close call, its error is evaluated as those of rounding to nearest were.
void TileSolver::choose(std::span<const double> loss) {
  std::vector<std::int64_t> close;
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const error = error_.data() + r * cols_;
    double square = 0;
    for (std::int64_t i = 0; i < cols_; ++i) {
      const std::int32_t c = plan_.order.column[i];
      error[c] = work_[r * cols_ + i] - input_.weight(first_ + r, c);
    }
    for (std::int32_t c : prepared_.dead) error[c] = 0;
    for (std::int64_t c = 0; c < cols_; ++c) square += double{error[c]} * error[c];
    const double swept = loss[r] - prepared_.factor.lambda * square;
    // Under a group map rows cannot go back to contiguous groups one by one: solve() decides for the whole matrix.
    if (!plan_.order.group_of_column.empty() || swept + identity_tolerance * loss[r] < errors_[r].kept) {
      errors_[r].kept = swept;
      keep_sweep(r);
    } else {
      close.push_back(r);
    }
  }
  if (close.empty()) return;
  for (std::size_t i = 0; i < close.size(); ++i)
    std::copy_n(error_.data() + close[i] * cols_, cols_, error_.data() + static_cast<std::int64_t>(i) * cols_);
  std::vector<double> forms(close.size());
  quadratic_forms({error_.data(), static_cast<std::int64_t>(close.size()), cols_}, input_.hessian->matrix(), forms);
  for (std::size_t i = 0; i < close.size(); ++i) {
    if (forms[i] >= errors_[close[i]].kept) continue;
    errors_[close[i]].kept = forms[i];
    keep_sweep(close[i]);
  }
}

void TileSolver::keep_sweep(std::int64_t row) {
  std::copy_n(codes_.data() + row * cols_, cols_, part_.codes.data() + (first_ + row) * cols_);
  if (plan_.grid.per_tensor()) return;
  float* const params = part_.params.data() + (first_ + row) * params_per_row();
  for (std::size_t i = 0; i < params_per_row(); ++i) params[i] = tile_params_[i * tile_rows + row];
}

// Round to nearest on contiguous groups, spelled out as a map where the layout holds one.
void round_all(const SolveInput& input, GridPart& part) {
  for (std::int64_t c = 0; c < part.cols; ++c)
    part.group_of_column[c] = static_cast<std::int32_t>(c / part.grid->group_columns(part.cols));
  parallel_ranges(part.rows, tile_rows, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> decoded(part.cols);
    for (std::int64_t r = first; r < last; ++r) round_row(input, r, part, decoded);
  });
}

}  // namespace

void Gptq::prepare(const Hessian& hessian, std::int64_t group, bool fitted_first) {
  if (prepared_.hessian == &hessian && prepared_.group == group && prepared_.fitted_first == fitted_first) return;
  prepared_ = {};  // gives the old factor back before the new one is made
  const Matrix<const float> h = hessian.matrix();
  std::vector<float> diagonal(h.rows);
  for (std::int64_t c = 0; c < h.rows; ++c) {
    diagonal[c] = h(c, c);
    if (!(diagonal[c] > 0)) prepared_.dead.push_back(static_cast<std::int32_t>(c));
  }
  prepared_.order = make_order(settings_.order, fitted_first, diagonal, group);
  prepared_.factor = make_factor(h, prepared_.order.column, settings_.damp, settings_.damp_step);
  prepared_.hessian = &hessian;
  prepared_.group = group;
  prepared_.fitted_first = fitted_first;
}

Result<GridPart> Gptq::solve(const SolveInput& input, std::span<const float> frozen, SolveReport& report) {
  if (!input.hessian) return fail(ErrorCode::invalid, "{}: gptq needs a Hessian", input.name);
  VN_TRY(check_solve_input(input));
  if (input.grid->span() != 1)
    return fail(ErrorCode::unsupported, "{}: gptq rounds single columns, the grid {} codes {} at a time", input.name,
                input.grid->spec().text(), input.grid->span());
  const std::int64_t rows = input.weight.rows, cols = input.weight.cols, group = input.grid->group_columns(cols);
  const bool joint = input.grid->joint_groups() || input.grid->joint_rows() != 1;
  if (settings_.order == Order::act && joint)
    return with_hint(fail(ErrorCode::unsupported,
                          "{}: order act groups columns during the sweep, the grid {} fits all of them before",
                          input.name, input.grid->spec().text()),
                     "use gptq.order=static or gptq.order=group-aware");
  if (settings_.order == Order::act && group < cols && !input.column_groups_allowed)
    return with_hint(fail(ErrorCode::unsupported,
                          "{}: order act needs a group index per column, which the container "
                          "does not store",
                          input.name),
                     "use gptq.order=group-aware or gptq.order=static");
  const bool fitted_first = settings_.static_groups || !frozen.empty() || joint;
  prepare(*input.hessian, group, fitted_first);

  SweepPlan plan{*input.grid,
                 *input.range,
                 prepared_.order,
                 prepared_.factor.matrix(),
                 cut_blocks(prepared_.order, settings_.block),
                 {}};
  if (!input.importance.empty())
    for (const std::int32_t c : prepared_.order.column) plan.importance.push_back(input.importance[c]);
  GridPart part = start_part(input);
  std::vector<RowErrors> errors(rows);
  const bool refines = prepared_.order.group_of_column.empty() && !input.grid->per_tensor();
  const std::int64_t passes = refines ? settings_.refine : 0;
  parallel_ranges(rows, tile_rows, [&](std::int64_t first, std::int64_t last) {
    TileSolver(input, frozen, prepared_, plan, first, last - first, passes, part,
               std::span(errors).subspan(first, last - first))
        .run();
  });

  RowErrors sum;
  for (const RowErrors& e : errors) sum.weight += e.weight, sum.nearest += e.nearest, sum.kept += e.kept;
  report.note = prepared_.factor.note;
  part.group_of_column = prepared_.order.group_of_column;
  if (!part.group_of_column.empty() && (!prepared_.factor.u || sum.kept > (1 - identity_tolerance) * sum.nearest)) {
    if (prepared_.factor.u) report.note = "order act does not beat round to nearest, which was kept";
    round_all(input, part);
    sum.kept = sum.nearest;
  }
  report.error_rtn = relative_error(sum.nearest, sum.weight);
  report.error = relative_error(sum.kept, sum.weight);
  report.damp = prepared_.factor.damp;
  report.dead_columns = static_cast<std::int64_t>(prepared_.dead.size());
  return part;
}

std::int64_t Gptq::working_bytes(std::int64_t rows, std::int64_t cols) const {
  const std::int64_t tiles = std::min<std::int64_t>(thread_count(), (rows + tile_rows - 1) / tile_rows);
  const std::int64_t floats = TileSolver::floats_per_column + (settings_.refine > 0 ? refine_floats * tile_rows : 0);
  const std::int64_t per_column = floats * static_cast<std::int64_t>(sizeof(float));
  return Factor::bytes(cols) + tiles * cols * per_column;
}

}  // namespace vernier::gptq
