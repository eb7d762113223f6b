// vernier plan: what a quantization would do, write and need. Reads no weight.
#include "pipeline/plan.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/job_options.h"
#include "pipeline/allocate/target.h"

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
  std::optional<AllocationReport> allocation;
  if (recipe->target_bpw > 0) {
    auto allocated = preview_allocation(*recipe, options.run);
    if (!allocated.ok()) return report(allocated.error());
    recipe = std::move(allocated->recipe);
    allocation = std::move(allocated->report);
  }
  auto plan = make_plan(*recipe, options.run);
  if (!plan.ok()) return report(plan.error());
  if (allocation) plan->notes.push_back(allocation_note(*allocation, *plan));
  if (options.common.json) {
    Json json = plan_json(*plan);
    if (allocation) json["allocation"] = allocation_json(*allocation);
    print_json(json);
  } else {
    if (allocation) fmt::print("{}", allocation_table(*allocation));
    fmt::print("{}", plan_table(*plan));
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto options = std::make_shared<JobOptions>();
  add_job_options(app, *options);
  app.footer(R"(Examples:
  vernier plan models/books-6m --recipe w4a16-gptq
  vernier plan MODEL --recipe w3a16-gptq --set group=64 --memory 4G --json
  vernier plan MODEL --recipe gguf-bpw-gptq --target-bpw 3.5 --container gguf)");
  return [options] { return run_plan(*options); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_plan;
const CommandDescriptor command_plan = {"plan", "What a quantization would do, write and need", setup};
}  // namespace units
}  // namespace vernier
