// GPTQ as a solver: groups take their parameters from the recipe's range, on live weights as the sweep reaches them.
#include "methods/gptq/solve.h"

namespace vernier {
namespace {

class GptqSolver final : public Solver {
 public:
  explicit GptqSolver(gptq::Settings settings) : refines_(settings.refine > 0), gptq_(settings) {}

  Result<GridPart> solve(const SolveInput& input, SolveReport& report) override {
    if (!refines_ || !input.hessian || !input.importance.empty()) return gptq_.solve(input, {}, report);
    const Matrix<const float> h = input.hessian->matrix();
    std::vector<float> diagonal(h.rows);
    for (std::int64_t c = 0; c < h.rows; ++c) diagonal[c] = h(c, c);
    SolveInput weighted = input;
    weighted.importance = diagonal;
    return gptq_.solve(weighted, {}, report);
  }
  void release_hessian() override { gptq_.release_hessian(); }
  std::int64_t working_bytes(std::int64_t rows, std::int64_t cols) const override {
    return gptq_.working_bytes(rows, cols);
  }

 private:
  bool refines_;
  gptq::Gptq gptq_;
};

std::vector<OptionSchema> options() {
  std::vector<OptionSchema> all = gptq::sweep_options("group-aware", {"none", "act", "static", "group-aware"});
  all.push_back({"static_groups", false, "fit all groups on the original weights, before the sweep", {}});
  all.push_back(
      {"refine",
       std::int64_t{0},
       "passes of coordinate descent over parameters and codes after the sweep, 0 to 100; with any, groups "
       "fitted before the sweep are fitted under the Hessian's diagonal unless --imatrix tells the importance",
       {}});
  return all;
}

gptq::Settings settings_from(const Options& options) {
  gptq::Settings settings = gptq::settings_from(options);
  settings.static_groups = options.flag("static_groups");
  settings.refine = options.integer("refine");
  return settings;
}

}  // namespace

namespace units {
extern const MethodDescriptor method_gptq;
const MethodDescriptor method_gptq{
    .name = "gptq",
    .summary = "column by column rounding with error feedback through the inverse Hessian",
    .source = "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2022",
    .role = MethodDescriptor::Role::solver,
    .needs_hessian = true,
    .needs_calibration = true,
    .options = options(),
    .make_solver = [](const Options& options) -> std::unique_ptr<Solver> {
      return std::make_unique<GptqSolver>(settings_from(options));
    },
    .validate = [](const Options& options) { return gptq::check_settings(settings_from(options), "gptq"); },
    .column_groups =
        [](const Options& options) { return options.text("order") == "act" && !options.flag("static_groups"); },
};
}  // namespace units

}  // namespace vernier
