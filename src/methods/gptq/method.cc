// GPTQ as a solver: groups take their parameters from the recipe's range, on live weights as the sweep reaches them.
#include "methods/gptq/solve.h"

namespace vernier {
namespace {

class GptqSolver final : public Solver {
 public:
  explicit GptqSolver(gptq::Settings settings) : gptq_(settings) {}

  Result<GridPart> solve(const SolveInput& input, SolveReport& report) override {
    return gptq_.solve(input, {}, report);
  }
  void release_hessian() override { gptq_.release_hessian(); }
  std::int64_t working_bytes(std::int64_t rows, std::int64_t cols) const override {
    return gptq_.working_bytes(rows, cols);
  }

 private:
  gptq::Gptq gptq_;
};

std::vector<OptionSchema> options() {
  std::vector<OptionSchema> all = gptq::sweep_options("group-aware", {"none", "act", "static", "group-aware"});
  all.push_back({"static_groups", false, "fit all groups on the original weights, before the sweep", {}});
  return all;
}

gptq::Settings settings_from(const Options& options) {
  gptq::Settings settings = gptq::settings_from(options);
  settings.static_groups = options.flag("static_groups");
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
    .validate = [](const Options& options) { return gptq::check_settings(gptq::settings_from(options), "gptq"); },
    .column_groups =
        [](const Options& options) { return options.text("order") == "act" && !options.flag("static_groups"); },
};
}  // namespace units

}  // namespace vernier
