// GPTQ: greedy rounding of one column after another with optimal feedback of the error into later columns.
//
// solve() = order of columns -> inverse factor (kept for the next linears of the same input) -> sweep of row tiles,
// each by one worker; per row the better of the sweep and round to nearest under the same Hessian is kept.
#include <algorithm>

#include "base/fail.h"
#include "base/threads.h"
#include "methods/gptq/factor.h"
#include "methods/gptq/sweep.h"
#include "methods/row_error.h"
#include "methods/rtn/round.h"

namespace vernier {
namespace gptq {
namespace {

// The loss identity gives a row's error to about this fraction; closer calls are settled by evaluating both directly.
constexpr double identity_tolerance = 1e-2;

struct Settings {
  double damp, damp_step;
  Order order;
  std::int64_t block;
  bool static_groups;
};

// Work on one Hessian, shared by the linears that read the same input.
struct Prepared {
  const Hessian* hessian = nullptr;
  std::int64_t group = 0;
  ColumnOrder order;
  std::vector<std::int32_t> dead;  // columns no calibration token activated
  Factor factor;
};

class GptqSolver final : public Solver {
 public:
  explicit GptqSolver(Settings settings) : settings_(settings) {}

  Result<GridPart> solve(const SolveInput& input, SolveReport& report) override;
  void release_hessian() override { prepared_ = {}; }
  std::int64_t working_bytes(std::int64_t rows, std::int64_t cols) const override;

 private:
  void prepare(const Hessian& hessian, std::int64_t group);

  Settings settings_;
  Prepared prepared_;
};

// Errors of one row under H, not damped.
struct RowErrors {
  double weight = 0;   // w H w^T
  double nearest = 0;  // of round to nearest
  double kept = 0;     // of what was kept
};

// The rows of one tile: round to nearest, sweep, choose.
class TileSolver {
 public:
  TileSolver(const SolveInput& input, const Prepared& prepared, const SweepPlan& plan, std::int64_t first,
             std::int64_t rows, GridPart& part, std::span<RowErrors> errors)
      : input_(input),
        prepared_(prepared),
        plan_(plan),
        part_(part),
        errors_(errors),
        first_(first),
        rows_(rows),
        cols_(part.cols),
        params_(plan.grid.params_per_group()) {}

  void run();
  // Floats held per column and worker.
  static constexpr std::int64_t floats_per_column = 4 * tile_rows;

 private:
  void start_sweep();
  void choose(std::span<const double> loss);
  void keep_sweep(std::int64_t row);

  const SolveInput& input_;
  const Prepared& prepared_;
  const SweepPlan& plan_;
  GridPart& part_;
  std::span<RowErrors> errors_;
  std::int64_t first_, rows_, cols_;
  int params_;
  std::vector<float> work_, error_, tile_params_;  // work_: columns in the order of rounding; error_: as they lie
  std::vector<std::uint8_t> codes_;
};

void TileSolver::run() {
  const Matrix<const float> h = input_.hessian->matrix(), w = input_.weight.rows_slice(first_, rows_);
  std::vector<double> forms(2 * rows_), loss(rows_);

  // One product for both yardsticks: the rows of W above the errors of round to nearest.
  error_.resize(2 * rows_ * cols_);
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const error = error_.data() + (rows_ + r) * cols_;
    std::copy_n(w.row(r), cols_, error_.data() + r * cols_);
    round_row(input_, first_ + r, part_, {error, static_cast<std::size_t>(cols_)});
    for (std::int64_t c = 0; c < cols_; ++c) error[c] -= w(r, c);
  }
  quadratic_forms({error_.data(), 2 * rows_, cols_}, h, forms);
  for (std::int64_t r = 0; r < rows_; ++r) errors_[r] = {forms[r], forms[rows_ + r], forms[rows_ + r]};
  if (!prepared_.factor.u) return;

  start_sweep();
  sweep(plan_, {{work_.data(), rows_, cols_}, {codes_.data(), rows_, cols_}, tile_params_, loss});
  choose(loss);
}

void TileSolver::start_sweep() {
  const std::int64_t groups = part_.groups();
  work_.resize(rows_ * cols_);
  codes_.resize(rows_ * cols_);
  tile_params_.resize(groups * params_ * tile_rows);
  std::vector<float> row(cols_), params(params_);
  for (std::int64_t r = 0; r < rows_; ++r) {
    std::copy_n(input_.weight.row(first_ + r), cols_, row.data());
    for (std::int32_t c : prepared_.dead) row[c] = 0;
    for (std::int64_t i = 0; i < cols_; ++i) work_[r * cols_ + i] = row[plan_.order.column[i]];
    if (!plan_.order.fitted_first && !plan_.grid.per_tensor()) continue;
    const std::int64_t group = plan_.grid.group_columns(cols_);
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> shared = part_.params_of(first_ + r, g);
      if (plan_.grid.per_tensor())
        std::copy(shared.begin(), shared.end(), params.begin());
      else
        input_.range->fit(plan_.grid,
                          {row.data() + g * group, static_cast<std::size_t>(std::min(group, cols_ - g * group))}, {},
                          params);
      for (int p = 0; p < params_; ++p) tile_params_[(g * params_ + p) * tile_rows + r] = params[p];
    }
  }
}

// Keeps the sweep's row where its error is lower. The loss is the error under the damped Hessian, so lambda |w - q|^2
// comes off; where that leaves a close call, both errors are compared as round to nearest's was evaluated.
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
    if (!plan_.order.group_of_column.empty() || swept + identity_tolerance * loss[r] < errors_[r].nearest) {
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
    if (forms[i] >= errors_[close[i]].nearest) continue;
    errors_[close[i]].kept = forms[i];
    keep_sweep(close[i]);
  }
}

void TileSolver::keep_sweep(std::int64_t row) {
  std::copy_n(codes_.data() + row * cols_, cols_, part_.codes.data() + (first_ + row) * cols_);
  if (plan_.grid.per_tensor()) return;
  const std::int64_t count = part_.groups() * params_;
  for (std::int64_t i = 0; i < count; ++i) part_.params[(first_ + row) * count + i] = tile_params_[i * tile_rows + row];
}

void GptqSolver::prepare(const Hessian& hessian, std::int64_t group) {
  if (prepared_.hessian == &hessian && prepared_.group == group) return;
  prepared_ = {};  // gives the old factor back before the new one is made
  const Matrix<const float> h = hessian.matrix();
  std::vector<float> diagonal(h.rows);
  for (std::int64_t c = 0; c < h.rows; ++c) {
    diagonal[c] = h(c, c);
    if (!(diagonal[c] > 0)) prepared_.dead.push_back(static_cast<std::int32_t>(c));
  }
  prepared_.order = make_order(settings_.order, settings_.static_groups, diagonal, group);
  prepared_.factor = make_factor(h, prepared_.order.column, settings_.damp, settings_.damp_step);
  prepared_.hessian = &hessian;
  prepared_.group = group;
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

Result<GridPart> GptqSolver::solve(const SolveInput& input, SolveReport& report) {
  if (!input.hessian) return fail(ErrorCode::invalid, "{}: gptq needs a Hessian", input.name);
  VN_TRY(check_solve_input(input));
  if (input.grid->span() != 1)
    return fail(ErrorCode::unsupported, "{}: gptq rounds single columns, the grid {} codes {} at a time", input.name,
                input.grid->spec().text(), input.grid->span());
  const std::int64_t rows = input.weight.rows, cols = input.weight.cols, group = input.grid->group_columns(cols);
  if (settings_.order == Order::act && group < cols && !input.column_groups_allowed)
    return with_hint(fail(ErrorCode::unsupported,
                          "{}: order act needs a group index per column, which the container "
                          "does not store",
                          input.name),
                     "use gptq.order=group-aware or gptq.order=static");
  prepare(*input.hessian, group);

  const SweepPlan plan{*input.grid, *input.range, prepared_.order, prepared_.factor.matrix(),
                       cut_blocks(prepared_.order, settings_.block)};
  GridPart part = start_part(input);
  std::vector<RowErrors> errors(rows);
  parallel_ranges(rows, tile_rows, [&](std::int64_t first, std::int64_t last) {
    TileSolver(input, prepared_, plan, first, last - first, part, std::span(errors).subspan(first, last - first)).run();
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

std::int64_t GptqSolver::working_bytes(std::int64_t rows, std::int64_t cols) const {
  const std::int64_t tiles = std::min<std::int64_t>(thread_count(), (rows + tile_rows - 1) / tile_rows);
  const std::int64_t per_column = TileSolver::floats_per_column * static_cast<std::int64_t>(sizeof(float));
  return Factor::bytes(cols) + tiles * cols * per_column;
}

Settings settings_from(const Options& options) {
  return {options.number("damp"), options.number("damp_step"), order_from_name(options.text("order")),
          options.integer("block"), options.flag("static_groups")};
}

Status validate(const Options& options) {
  const Settings s = settings_from(options);
  if (!(s.damp >= 0 && s.damp < 1))
    return fail(ErrorCode::invalid, "gptq.damp: 0 <= damp < 1 wanted, found {}", s.damp);
  if (!(s.damp_step >= 0 && s.damp_step < 1))
    return fail(ErrorCode::invalid, "gptq.damp_step: 0 <= damp_step < 1 wanted, found {}", s.damp_step);
  if (s.block < 1 || s.block > 4096)
    return fail(ErrorCode::invalid, "gptq.block: 1 to 4096 columns wanted, found {}", s.block);
  return {};
}

}  // namespace
}  // namespace gptq

namespace units {
extern const MethodDescriptor method_gptq;
const MethodDescriptor method_gptq{
    .name = "gptq",
    .summary = "column by column rounding with error feedback through the inverse Hessian",
    .source = "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2022",
    .role = MethodDescriptor::Role::solver,
    .needs_hessian = true,
    .needs_calibration = true,
    .options =
        {
            {"damp", 0.01, "fraction of the mean diagonal added to the Hessian", {}},
            {"damp_step", 0.01, "first increase of damp when the factor fails; doubles each time", {}},
            {"order", std::string("group-aware"), "order of columns", {"none", "act", "static", "group-aware"}},
            {"block", std::int64_t{128}, "columns between two updates of the rest; results do not depend on it", {}},
            {"static_groups", false, "fit all groups on the original weights, before the sweep", {}},
        },
    .make_solver = [](const Options& options) -> std::unique_ptr<Solver> {
      return std::make_unique<gptq::GptqSolver>(gptq::settings_from(options));
    },
    .validate = gptq::validate,
    .column_groups =
        [](const Options& options) { return options.text("order") == "act" && !options.flag("static_groups"); },
};
}  // namespace units

}  // namespace vernier
