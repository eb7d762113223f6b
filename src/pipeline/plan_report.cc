#include "base/fail.h"
#include "base/memory.h"
#include "pipeline/plan.h"

namespace vernier {
namespace {

std::string duration(double seconds) {
  if (seconds < 1) return "under a second";
  const long s = static_cast<long>(seconds + 0.5);
  if (s < 60) return fmt::format("{} s", s);
  return s < 3600 ? fmt::format("{} min {} s", s / 60, s % 60) : fmt::format("{} h {} min", s / 3600, s / 60 % 60);
}

std::int64_t stored_bytes(const Plan& plan, const WeightPlan& weight) {
  if (!weight.grid) return weight.shape.elements() * size_bytes(weight.dtype);
  std::int64_t bytes = 0;
  for (const TensorEntry& entry : plan.container->layout(weight)) bytes += entry.bytes();
  return bytes;
}

std::string activation_text(const std::optional<ActivationSpec>& spec) {
  if (!spec) return "-";
  return fmt::format("{}{} {} {}", spec->floating ? "fp" : "int", spec->bits, spec->symmetric ? "sym" : "asym",
                     !spec->dynamic    ? "static"
                     : spec->per_token ? "per token"
                                       : "per tensor");
}

}  // namespace

Json plan_json(const Plan& plan) {
  Json tensors = Json::array();
  for (const WeightPlan& weight : plan.output.weights) {
    tensors.push_back({{"name", weight.name},
                       {"shape", weight.shape.dims()},
                       {"source", name(weight.dtype)},
                       {"format", weight.grid ? weight.grid->text() : std::string(name(weight.dtype))},
                       {"activations", activation_text(weight.activation)},
                       {"bytes", stored_bytes(plan, weight)}});
  }
  Json stages = Json::array();
  for (const PlanStage& stage : plan.stages) stages.push_back({{"name", stage.name}, {"peak_bytes", stage.peak_bytes}});
  return {{"model", plan.options.model},
          {"recipe", plan.recipe.name},
          {"architecture", plan.graph ? plan.graph->architecture : "unknown"},
          {"container", plan.container->name},
          {"calibrated", plan.calibrated},
          {"bits_per_weight", plan.bits_per_weight()},
          {"output_bytes", plan.output_bytes},
          {"memory_bytes", plan.memory_bytes},
          {"peak_bytes", plan.peak_bytes},
          {"smallest_budget_bytes", plan.smallest_budget_bytes},
          {"scratch_bytes", plan.scratch_bytes},
          {"flops", plan.flops},
          {"seconds", plan.seconds},
          {"shards", plan.shards.size()},
          {"stages", stages},
          {"notes", plan.notes},
          {"tensors", tensors}};
}

std::string plan_table(const Plan& plan) {
  std::string text = fmt::format("{:<56} {:>18}  {:<10} {:<22} {:>12}\n", "tensor", "shape", "from", "to", "bytes");
  for (const WeightPlan& weight : plan.output.weights) {
    text += fmt::format("{:<56} {:>18}  {:<10} {:<22} {:>12}\n", weight.name, weight.shape.text(), name(weight.dtype),
                        weight.grid ? weight.grid->text() : "copied", stored_bytes(plan, weight));
  }
  return text + "\n" + plan_summary(plan);
}

std::string plan_summary(const Plan& plan) {
  std::string text = fmt::format("recipe        {}: {}\n", plan.recipe.name, plan.recipe.summary);
  text +=
      fmt::format("architecture  {}\n", plan.graph ? plan.graph->architecture : "not described; weights by pattern");
  text += fmt::format("container     {}, {} file{}\n", plan.container->name, plan.shards.size(),
                      plan.shards.size() == 1 ? "" : "s");
  text += fmt::format("output        {} ({} bytes), {:.3f} bits per quantized weight\n",
                      format_bytes(plan.output_bytes), plan.output_bytes, plan.bits_per_weight());
  if (plan.calibrated) {
    text += fmt::format("calibration   {} samples of {} tokens\n", plan.recipe.calibration.samples,
                        plan.recipe.calibration.ctx);
  }
  for (const PlanStage& stage : plan.stages)
    text += fmt::format("memory        {:>12}  {}\n", format_bytes(stage.peak_bytes), stage.name);
  text += fmt::format("              of {}; the smallest budget that works is {}\n", format_bytes(plan.memory_bytes),
                      format_bytes(plan.smallest_budget_bytes));
  text += fmt::format("scratch disk  {}\n", format_bytes(plan.scratch_bytes));
  if (plan.seconds > 0) text += fmt::format("time          about {}\n", duration(plan.seconds));
  for (const std::string& note : plan.notes) text += fmt::format("note          {}\n", note);
  return text;
}

}  // namespace vernier
