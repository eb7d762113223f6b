#include "pipeline/estimate.h"

#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "kernels/ops.h"
#include "pipeline/plan_weights.h"

namespace vernier {
namespace {

// A copied tensor passes through a buffer of this size, and this much of its mapping is resident.
constexpr std::int64_t copy_bytes = std::int64_t{2} << 23;

// Float master, codes, decoded row tiles, the packed tensors, and the solver's own.
std::int64_t data_free_bytes(const WeightPlan& weight, const Solver& solver) {
  const std::int64_t elements = weight.shape.elements();
  return elements * (4 + 1 + 1) + elements * size_bytes(weight.dtype) +
         solver.working_bytes(weight.shape[0], weight.shape.rank() > 1 ? weight.shape[1] : 1);
}

// Multiply-adds count as two. One forward, the lower triangle of every Hessian, its factor, and the sweep.
double block_flops(const Graph& block, const std::map<std::string, LinearPlan>& plans, bool hessian, double tokens) {
  double flops = 0;
  for (const auto& group : linear_groups(block)) {
    double columns = 0;
    for (int index : group) {
      const Op& op = block.ops[index];
      const TensorRef& weight = block.tensors[op.weight];
      const double rows = static_cast<double>(weight.shape[0]);
      columns = static_cast<double>(weight.shape[1]);
      flops += 2 * tokens * rows * columns;
      const auto plan = plans.find(weight.name);
      if (hessian && plan != plans.end() && plan->second.grid) flops += rows * columns * columns;
    }
    if (hessian) flops += tokens * columns * columns + 2.0 / 3 * columns * columns * columns;
  }
  return flops;
}

}  // namespace

Result<std::map<std::string, LinearPlan>> linear_plans(const Plan& plan) {
  std::map<std::string, LinearPlan> plans;
  for (const WeightPlan& weight : plan.output.weights) {
    if (!weight.grid) continue;
    LinearPlan linear;
    VN_ASSIGN(linear.grid, make_grid(*weight.grid));
    VN_ASSIGN(auto range, make_range(range_spec(weight_spec_for(plan.recipe, weight.name))));
    linear.range = std::move(range);
    linear.activation = weight.activation;
    linear.column_groups = weight.column_groups;
    if (const auto found = plan.importance.of_weight.find(weight.name); found != plan.importance.of_weight.end())
      linear.importance = found->second;
    plans.emplace(weight.name, std::move(linear));
  }
  return plans;
}

Status estimate_costs(Plan& plan, std::int64_t samples, std::int64_t ctx) {
  VN_ASSIGN(const auto linears, linear_plans(plan));
  VN_ASSIGN(const MethodDescriptor* solver_method, find_method(plan.recipe.solver.name));
  VN_ASSIGN(const Options options, resolve_options(*solver_method, plan.recipe.solver.options));
  const auto solver = solver_method->make_solver(options);

  std::int64_t largest_data_free = copy_bytes;
  for (const WeightPlan& weight : plan.output.weights) {
    const std::int64_t rewritten = plan.output.rewritten ? 2 * 4 * weight.shape.elements() : 0;
    if (weight.grid) largest_data_free = std::max(largest_data_free, rewritten + data_free_bytes(weight, *solver));
  }
  const double tokens = plan.calibrated ? static_cast<double>(samples * ctx) : 0;
  plan.flops = 0;
  plan.stages.clear();
  if (plan.calibrated) {
    std::int64_t peak = copy_bytes;
    for (const Graph& block : plan.graph->blocks) {
      plan.flops += block_flops(block, linears, solver_method->needs_hessian, tokens);
      // Rewritten matrices are no views of mapped files: the whole block is held in f32, and one tensor twice.
      std::int64_t rewritten = 0, largest = 0;
      for (const TensorRef& tensor : block.tensors) {
        const std::int64_t bytes = plan.output.rewritten ? 4 * tensor.shape.elements() : 0;
        rewritten += bytes;
        largest = std::max(largest, bytes);
      }
      peak = std::max(peak, rewritten + largest + BlockEngine::peak_bytes(block, linears, plan.recipe, ctx));
      plan.scratch_bytes =
          std::max(plan.scratch_bytes, BlockEngine::scratch_bytes(block, linears, plan.recipe, samples, ctx));
    }
    plan.smallest_budget_bytes = process_bytes + std::max(peak, largest_data_free);
    plan.stages.push_back({"calibrate and solve a block", process_bytes + peak});
  } else {
    plan.smallest_budget_bytes = process_bytes + largest_data_free;
    plan.stages.push_back({"quantize a tensor", process_bytes + largest_data_free});
  }
  plan.stages.push_back({"copy a tensor", process_bytes + copy_bytes});
  plan.peak_bytes = 0;
  const PlanStage* worst = nullptr;
  for (const PlanStage& stage : plan.stages) {
    if (stage.peak_bytes > plan.peak_bytes) {
      plan.peak_bytes = stage.peak_bytes;
      worst = &stage;
    }
  }
  if (plan.smallest_budget_bytes > plan.memory_bytes) {
    return with_hint(fail(ErrorCode::over_budget, "stage \"{}\" needs {}, the memory budget is {}", worst->name,
                          format_bytes(plan.smallest_budget_bytes), format_bytes(plan.memory_bytes)),
                     fmt::format("the smallest that works is --memory {}M", (plan.smallest_budget_bytes >> 20) + 1));
  }
  return {};
}

double probe_seconds(const Plan& plan) {
  constexpr std::int64_t m = 512, n = 512, k = 1024;
  const std::int64_t workers = thread_count();
  std::vector<float> a(m * k, 0.5f), b(n * k, 0.5f), c(workers * m * n);
  const auto product = [&](std::int64_t i) {
    kernels::sgemm({a.data(), m, k}, {b.data(), n, k}, true, {c.data() + i * m * n, m, n});
  };
  parallel_for(workers, product);
  const auto begin = std::chrono::steady_clock::now();
  double seconds = 0;
  std::int64_t rounds = 0;
  while (seconds < 0.15) {
    parallel_for(workers, product);
    ++rounds;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  const double rate = 2.0 * m * n * k * static_cast<double>(rounds * workers) / seconds;
  // The solver's scalar work, packing and files: about what reading and writing every weight 20 times costs.
  std::int64_t weights = 0;
  for (const WeightPlan& weight : plan.output.weights) weights += weight.grid ? weight.shape.elements() : 0;
  constexpr double efficiency = 0.8;                // of the bare product rate, over a whole run
  constexpr double weights_per_core_second = 60e6;  // round to nearest, packing and writing
  return plan.flops / (efficiency * rate) +
         static_cast<double>(weights) / (weights_per_core_second * static_cast<double>(workers));
}

}  // namespace vernier
