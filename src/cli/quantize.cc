// vernier quantize: the main path. Options -> recipe -> plan -> quantize -> a summary.
#include "pipeline/quantize.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/memory.h"
#include "cli/job_options.h"
#include "cli/table.h"
#include "cli/verify_output.h"
#include "pipeline/allocate/target.h"

namespace vernier {
namespace {

constexpr std::size_t worst_shown = 8;

// What the summary needs of a plan, which quantize() consumes.
struct Summary {
  std::string out, recipe;
  double bits_per_weight = 0;
};

Json tensor_json(const TensorRecord& tensor) {
  Json json;
  json["name"] = tensor.name;
  json["grid"] = tensor.grid.text();
  json["bits_per_weight"] = tensor.bits_per_weight;
  json["error"] = tensor.report.error;
  json["error_rtn"] = tensor.report.error_rtn;
  if (!tensor.report.note.empty()) json["note"] = tensor.report.note;
  json["tokens"] = tensor.tokens;
  json["seconds"] = tensor.seconds;
  return json;
}

Json result_json(const Summary& summary, const QuantizeResult& result, bool verified) {
  Json json;
  json["out"] = summary.out;
  json["recipe"] = summary.recipe;
  json["container"] = result.container;
  json["output_bytes"] = result.output_bytes;
  json["bits_per_weight"] = summary.bits_per_weight;
  json["seconds"] = result.seconds;
  json["peak_resident_bytes"] = result.peak_resident_bytes;
  json["resumed"] = result.resumed;
  json["verified"] = verified;
  json["tensors"] = Json::array();
  for (const TensorRecord& tensor : result.tensors) json["tensors"].push_back(tensor_json(tensor));
  return json;
}

void print_result(const Summary& summary, QuantizeResult result) {
  std::stable_sort(result.tensors.begin(), result.tensors.end(),
                   [](const TensorRecord& a, const TensorRecord& b) { return a.report.error > b.report.error; });
  const std::size_t shown = std::min(worst_shown, result.tensors.size());
  if (shown > 0) {
    fmt::print("\nlargest relative errors, {} of {} tensors\n", shown, result.tensors.size());
    Table table({{"tensor", Table::Align::left, true},
                 {"grid"},
                 {"error", Table::Align::right},
                 {"rtn", Table::Align::right},
                 {"note", Table::Align::left, true}});
    for (std::size_t i = 0; i < shown; ++i) {
      const TensorRecord& tensor = result.tensors[i];
      table.add({tensor.name, tensor.grid.text(), fmt::format("{:.3e}", tensor.report.error),
                 fmt::format("{:.3e}", tensor.report.error_rtn), tensor.report.note});
    }
    print_table(table);
  }
  fmt::print("\n");
  Table totals({{"result"}, {summary.recipe}});
  totals.add({"output", summary.out});
  totals.add({"container", result.container});
  totals.add({"size", format_bytes(result.output_bytes)});
  totals.add({"bits per weight", fmt::format("{:.3f}", summary.bits_per_weight)});
  totals.add({"time", fmt::format("{:.1f} s{}", result.seconds, result.resumed ? ", resumed" : "")});
  totals.add({"peak memory", format_bytes(result.peak_resident_bytes)});
  print_table(totals);
}

int report_run(Error error) {
  if (error.code == ErrorCode::interrupted) error.hint = "this continues it: " + command_line("--fresh");
  return report(error);
}

struct QuantizeCommand {
  JobOptions job;
  bool no_verify = false;
};

int run_quantize(QuantizeCommand& command) {
  JobOptions& options = command.job;
  options.common.apply();
  auto recipe = options.load();
  if (!recipe.ok()) {
    report(recipe.error());
    return exit_usage;
  }
  options.set_default_output(*recipe);
  const bool printed = !options.common.json && !options.common.quiet;
  std::optional<AllocationReport> allocation;
  if (recipe->target_bpw > 0) {
    auto allocated = allocate_recipe(*recipe, options.run);
    if (!allocated.ok()) return report_run(std::move(allocated).take_error());
    recipe = std::move(allocated->recipe);
    allocation = std::move(allocated->report);
    if (printed) fmt::print("{}", allocation_table(*allocation));
  }
  auto plan = make_plan(*recipe, options.run);
  if (!plan.ok()) return report(plan.error());
  if (allocation) plan->notes.push_back(allocation_note(*allocation, *plan));
  if (printed) fmt::print("{}", plan_summary(*plan));
  std::fflush(stdout);
  const Summary summary{plan->options.out, plan->recipe.name, plan->bits_per_weight()};
  const std::int64_t memory_bytes = plan->memory_bytes;

  auto result = quantize(std::move(plan).value());
  if (!result.ok()) return report_run(std::move(result).take_error());
  if (!command.no_verify && !verify_output(summary.out, options.run.model, options.common.json, memory_bytes))
    return exit_failed;
  if (options.common.json) {
    Json json = result_json(summary, *result, !command.no_verify);
    if (allocation) json["allocation"] = allocation_json(*allocation);
    print_json(json);
  } else {
    print_result(summary, std::move(result).value());
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<QuantizeCommand>();
  add_job_options(app, command->job);
  add_no_verify_option(app, command->no_verify);
  app.footer(
      R"(`vernier plan` with the same options shows what happens to each tensor. A run that was stopped, however it was stopped, continues with the same command.

Examples:
  vernier quantize models/books-6m -o out/books-w4 --recipe w4a16-rtn
  vernier quantize MODEL -o OUT --recipe w4a16-gptq --calib text.txt --samples 128 --ctx 512 --memory 4G
  vernier quantize MODEL --recipe w3a16-gptq --set group=64 --set gptq.damp=0.02
  vernier quantize MODEL --recipe gguf-bpw-gptq --target-bpw 3.5 --container gguf --calib text.txt)");
  return [command] { return run_quantize(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_quantize;
const CommandDescriptor command_quantize = {"quantize", "Quantize a model, in bounded memory, resumable", setup};
}  // namespace units
}  // namespace vernier
