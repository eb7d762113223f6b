#include "base/threads.h"
#include "methods/row_error.h"
#include "methods/rtn/round.h"
#include "tensor/sums.h"

namespace vernier {
namespace {

constexpr std::int64_t tile_rows = 32;

class RtnSolver final : public Solver {
 public:
  Result<GridPart> solve(const SolveInput& input, SolveReport& report) override;
  std::int64_t working_bytes(std::int64_t, std::int64_t cols) const override {
    return thread_count() * 2 * tile_rows * cols * static_cast<std::int64_t>(sizeof(float));
  }
};

Result<GridPart> RtnSolver::solve(const SolveInput& input, SolveReport& report) {
  VN_TRY(check_solve_input(input));
  const Matrix<const float> w = input.weight;
  GridPart part = start_part(input);
  std::vector<double> error(w.rows), norm(w.rows);  // by row, so that their sums do not depend on threads
  parallel_ranges(w.rows, tile_rows, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> tile((last - first) * w.cols);
    for (std::int64_t r = first; r < last; ++r) {
      const std::span<float> row(tile.data() + (r - first) * w.cols, static_cast<std::size_t>(w.cols));
      const std::span<const float> values(w.row(r), row.size());
      round_row(input, r, part, row);
      norm[r] = sum_of_squares(values);
      error[r] = sum_of_squared_differences(row, values);
      if (!input.hessian) continue;
      for (std::int64_t c = 0; c < w.cols; ++c) row[c] -= values[c];
    }
    if (!input.hessian) return;
    const std::int64_t rows = last - first;
    quadratic_forms({tile.data(), rows, w.cols}, input.hessian->matrix(), std::span(error).subspan(first, rows));
    quadratic_forms(w.rows_slice(first, rows), input.hessian->matrix(), std::span(norm).subspan(first, rows));
  });
  double error_sum = 0, norm_sum = 0;
  for (std::int64_t r = 0; r < w.rows; ++r) error_sum += error[r], norm_sum += norm[r];
  report.error = report.error_rtn = relative_error(error_sum, norm_sum);
  return part;
}

}  // namespace

namespace units {
extern const MethodDescriptor method_rtn;
const MethodDescriptor method_rtn{
    .name = "rtn",
    .summary = "round to nearest under the range's parameters; needs no data unless asked for importance",
    .source = "folklore",
    .role = MethodDescriptor::Role::solver,
    .options = {{"importance",
                 false,
                 "weigh each column by the mean square of its input, from --imatrix or else from calibration",
                 {}}},
    .make_solver = [](const Options&) -> std::unique_ptr<Solver> { return std::make_unique<RtnSolver>(); },
    .needs_importance = [](const Options& options) { return options.flag("importance"); },
};
}  // namespace units

}  // namespace vernier
