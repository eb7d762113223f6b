// What a run costs, from shapes alone: resident bytes of each stage, scratch, arithmetic, and time from a short probe.
#pragma once

#include <map>
#include <string>

#include "pipeline/block_engine.h"
#include "pipeline/plan.h"

namespace vernier {

// The program itself, its libraries, the thread stacks and the allocator's slack; measured at 60-75 MiB.
constexpr std::int64_t process_bytes = std::int64_t{96} << 20;

// The linears of the plan as the block engine wants them.
Result<std::map<std::string, LinearPlan>> linear_plans(const Plan& plan);

// Fills budget, stages, peak, smallest budget, scratch and flops. over_budget when options.memory_bytes cannot hold the
// smallest setting; the message names the stage and what would work.
Status estimate_costs(Plan& plan, std::int64_t samples, std::int64_t ctx);

// Seconds for plan.flops from a fraction of a second of real products on this machine.
double probe_seconds(const Plan& plan);

}  // namespace vernier
