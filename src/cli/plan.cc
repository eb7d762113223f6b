// vernier plan: what a quantization would do, write and need. Reads no weight.
#include "pipeline/plan.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/job_options.h"

namespace vernier {
namespace {

int run_plan(JobOptions& options) {
  options.common.apply();
  auto recipe = options.load();
  if (!recipe.ok()) {
    report(recipe.error());
    return exit_usage;
  }
  options.set_default_output(*recipe);
  auto plan = make_plan(*recipe, options.run);
  if (!plan.ok()) return report(plan.error());
  if (options.common.json)
    print_json(plan_json(*plan));
  else
    fmt::print("{}", plan_table(*plan));
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto options = std::make_shared<JobOptions>();
  add_job_options(app, *options);
  app.footer(R"(Examples:
  vernier plan models/books-6m --recipe w4a16-gptq
  vernier plan MODEL --recipe w3a16-gptq --set group=64 --memory 4G --json)");
  return [options] { return run_plan(*options); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_plan;
const CommandDescriptor command_plan = {"plan", "What a quantization would do, write and need", setup};
}  // namespace units
}  // namespace vernier
