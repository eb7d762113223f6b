// GPTQ on one weight: greedy rounding of one column after another with optimal feedback of the error into later
// columns. Solvers that fit parameters in their own way hand them over frozen.
#pragma once

#include <vector>

#include "methods/gptq/factor.h"
#include "methods/gptq/order.h"
#include "methods/method.h"

namespace vernier::gptq {

struct Settings {
  double damp, damp_step;  // of make_factor()
  Order order;
  std::int64_t block;  // columns between two updates of the rest; results do not depend on it
  bool static_groups = false;
  std::int64_t refine = 0;  // passes of refine_rows(); with any, ranges are fitted under the Hessian's diagonal
};

// damp, damp_step, order and block: what every solver that sweeps lets a recipe set. Static groups are left to the
// caller.
std::vector<OptionSchema> sweep_options(std::string order, std::vector<std::string_view> orders);
Settings settings_from(const Options& options);
Status check_settings(const Settings& settings, std::string_view method);

// Work on one Hessian, shared by the linears that read the same input.
struct Prepared {
  const Hessian* hessian = nullptr;
  std::int64_t group = 0;
  bool fitted_first = false;
  ColumnOrder order;
  std::vector<std::int32_t> dead;  // columns no calibration token activated
  Factor factor;
};

class Gptq {
 public:
  explicit Gptq(Settings settings) : settings_(settings) {}

  // Per row the best of the sweep and round to nearest under H is kept. `frozen` [rows, groups, params_per_group], or
  // empty: parameters to sweep with instead of fitting the range; rounding to nearest under them competes as well.
  Result<GridPart> solve(const SolveInput& input, std::span<const float> frozen, SolveReport& report);
  void release_hessian() { prepared_ = {}; }
  std::int64_t working_bytes(std::int64_t rows, std::int64_t cols) const;

 private:
  void prepare(const Hessian& hessian, std::int64_t group, bool fitted_first);

  Settings settings_;
  Prepared prepared_;
};

}  // namespace vernier::gptq
