// DGQ as a solver: scales by the two-phase search, then GPTQ with those scales frozen (refitting them during the sweep
// would throw its error feedback away).
#include "base/fail.h"
#include "methods/dgq/search.h"
#include "methods/gptq/solve.h"
#include "methods/row_error.h"

namespace vernier {
namespace {

dgq::SearchSettings search_settings(const Options& options) {
  return {.range_steps = static_cast<int>(options.integer("range_steps")),
          .least_range = options.number("least_range"),
          .coarse_steps = static_cast<int>(options.integer("coarse_steps"))};
}

class DgqSolver final : public Solver {
 public:
  explicit DgqSolver(const Options& options) : search_(search_settings(options)), gptq_(gptq::settings_from(options)) {}

  Result<GridPart> solve(const SolveInput& input, SolveReport& report) override {
    if (!input.hessian) return fail(ErrorCode::invalid, "{}: dgq needs a Hessian", input.name);
    VN_TRY(check_solve_input(input));
    if (input.grid->joint_rows() != 1)
      return with_hint(fail(ErrorCode::unsupported, "{}: dgq searches scales row by row, the grid {} shares some",
                            input.name, input.grid->spec().text()),
                       "use solver gptq");
    std::vector<float> params;
    if (!input.grid->per_tensor() && input.grid->span() == 1)
      params = dgq::search_params(input.weight, input.hessian->matrix(), *input.grid, search_);
    return gptq_.solve(input, params, report);
  }
  void release_hessian() override { gptq_.release_hessian(); }
  std::int64_t working_bytes(std::int64_t rows, std::int64_t cols) const override {
    return gptq_.working_bytes(rows, cols) + dgq::search_bytes(rows, cols, search_);
  }

 private:
  dgq::SearchSettings search_;
  gptq::Gptq gptq_;
};

std::vector<OptionSchema> options() {
  std::vector<OptionSchema> all = gptq::sweep_options("static", {"none", "static", "group-aware"});
  const dgq::SearchSettings defaults;
  all.push_back({"range_steps", std::int64_t{defaults.range_steps}, "ranges tried for each group", {}});
  all.push_back(
      {"least_range", defaults.least_range, "smallest of them, as a fraction of the group's min and max", {}});
  all.push_back({"coarse_steps", std::int64_t{defaults.coarse_steps}, "coarse scales tried for each row", {}});
  return all;
}

Status validate(const Options& options) {
  VN_TRY(gptq::check_settings(gptq::settings_from(options), "dgq"));
  for (const char* steps : {"range_steps", "coarse_steps"})
    if (const std::int64_t n = options.integer(steps); n < 1 || n > 1000)
      return fail(ErrorCode::invalid, "dgq.{}: 1 to 1000 wanted, found {}", steps, n);
  if (const double least = options.number("least_range"); !(least > 0 && least <= 1))
    return fail(ErrorCode::invalid, "dgq.least_range: above 0 and at most 1 wanted, found {}", least);
  return {};
}

}  // namespace

namespace units {
extern const MethodDescriptor method_dgq;
const MethodDescriptor method_dgq{
    .name = "dgq",
    .summary = "searches scales of groups, then of rows, through the Hessian; rounds with error feedback under them",
    .source = "Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM, 2023",
    .role = MethodDescriptor::Role::solver,
    .needs_hessian = true,
    .needs_calibration = true,
    .options = options(),
    .make_solver = [](const Options& options) -> std::unique_ptr<Solver> {
      return std::make_unique<DgqSolver>(options);
    },
    .validate = validate,
};
}  // namespace units

}  // namespace vernier
