#include "pipeline/block_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "pipeline/block_context.h"

namespace vernier {

void WorkMeter::advance(double share) {
  left_ -= share;
  if (report_ && share > 0) report_(share);
}

BlockRun::BlockRun(const BlockResources& resources, int index, const SpillFile& input, const EmitTensor& emit,
                   std::vector<std::string>& notes, const std::function<void(double)>& on_progress)
    : resources_(resources),
      block_(resources.source.graph().blocks[index]),
      index_(index),
      forward_(block_, resources.executor, input, resources.shape, resources.scratch, resources.spill),
      emit_(emit),
      notes_(notes),
      on_progress_(on_progress),
      staged_(resources.methods.needs_statistics(resources.plans)),
      stages_quantized_(staged_ && resources.recipe.calibration.true_sequential),
      output_quantized_(resources.recipe.calibration.propagate) {}

Status BlockRun::run(SpillFile& output) {
  VN_ASSIGN(BlockWeights weights, BlockWeights::load(resources_.source, block_));
  weights_ = std::make_unique<BlockWeights>(std::move(weights));
  const StagePlan plan = staged_ ? plan_stages(block_, resources_.plans) : StagePlan{{}, {block_.input}};
  meter_ = std::make_unique<WorkMeter>(expected_work(plan), BlockEngine::block_work(block_, resources_.shape.tokens()),
                                       on_progress_);
  VN_TRY(transform());
  VN_TRY(emit_changed());
  weights_->begin_quantized();

  for (const Stage& stage : plan.stages) VN_TRY(run_stage(stage));
  if (!staged_) {
    for (const StageGroup& group : planned_groups(block_, resources_.plans)) VN_TRY(solve_group(group, {}, nullptr));
  }
  // The stages went forward on one kind of weights; where the output wants the other, it starts from the input again.
  const bool again = staged_ && stages_quantized_ != output_quantized_;
  const std::vector<ValueId> input{block_.input};
  VN_TRY(write_output(output, again ? input : plan.known));
  VN_TRY(forward_.keep({}));
  meter_->finish();
  return {};
}

Status BlockRun::transform() {
  EngineContext context(block_, index_, *weights_, forward_, resources_.executor, resources_.plans, notes_);
  for (const auto& transform : resources_.methods.transforms) {
    VN_TRY(check_interrupt());
    VN_TRY(transform->apply(context));
    weights_->release_pages();
    trim_heap();
    meter_->done(BlockEngine::block_work(block_, resources_.shape.tokens()));
  }
  return {};
}

// Changed tensors that no solver will touch: norms, biases, matrices that stay in high precision.
Status BlockRun::emit_changed() {
  for (const TensorId t : weights_->changed()) {
    const std::string& name = block_.tensors[t].name;
    const auto plan = resources_.plans.find(name);
    if (plan != resources_.plans.end() && plan->second.grid) continue;
    VN_ASSIGN(const Tensor* master, weights_->master(t));
    BlockTensor tensor;
    tensor.name = name;
    tensor.dense.emplace(DType::f32, master->shape());
    std::memcpy(tensor.dense->bytes().data(), master->bytes().data(), master->bytes().size());
    VN_TRY(emit_(std::move(tensor)));
  }
  return {};
}

void BlockRun::Statistics::add(Matrix<const float> x) {
  if (x.rows == 0) return;
  if (hessian) hessian->add(x);
  if (range) range->add(x);
  if (squares) squares->add(x);
  tokens += x.rows;
}

BlockRun::Statistics BlockRun::statistics(std::int64_t width, const std::vector<int>& linears) const {
  Statistics s;
  if (resources_.methods.needs_hessian) s.hessian = std::make_unique<Hessian>(width);
  const bool ranged = std::any_of(linears.begin(), linears.end(), [&](int op) {
    return measures_range(*quantized_plan(block_, resources_.plans, op));
  });
  if (std::any_of(linears.begin(), linears.end(), [&](int op) {
        return resources_.methods.gathers_importance(*quantized_plan(block_, resources_.plans, op));
      }))
    s.squares = std::make_unique<SquareSums>(width);
  if (ranged) s.range = std::make_unique<RangeStatistics>(resources_.recipe.activations.range == "percentile");
  return s;
}

Status BlockRun::run_stage(const Stage& stage) {
  StageState state{&stage, {}, {}};
  state.groups.resize(stage.groups.size());
  for (const StagePool& pool : stage.pools) {
    state.pools.push_back(statistics(pool.width, stage.groups[pool.groups.front()].linears));
  }
  VN_TRY(forward_.open(stage.live));
  for (std::size_t w = 0; w < stage.waves.size(); ++w) {
    const std::vector<int>& wave = stage.waves[w];
    for (const int g : wave) {
      state.groups[g] = statistics(block_.values[stage.groups[g].input].width, stage.groups[g].linears);
    }
    const double unit_work = (w == 0 ? matrix_elements(block_, stage.ops) * resources_.shape.tokens() : 0) /
                             static_cast<double>(forward_.units().size());
    for (const ForwardUnit& unit : forward_.units()) {
      ValueTable table(block_);
      if (w == 0) {
        VN_TRY(advance(stage, unit, table));
      } else {
        VN_TRY(forward_.read(unit, stage.live, table));
      }
      VN_TRY(feed(state, wave, w == 0, unit, table));
      meter_->done(unit_work);
    }
    weights_->release_pages();
    VN_TRY(finish_statistics(state, wave, w == 0));
    meter_->done(statistics_work(stage) / static_cast<double>(stage.waves.size()));
    for (const int g : wave) {
      const StageGroup& group = stage.groups[g];
      VN_TRY(solve_group(group, state.groups[g], group.pool < 0 ? nullptr : &state.pools[group.pool]));
      state.groups[g] = {};
    }
    trim_heap();
  }
  VN_TRY(forward_.keep(stage.live));
  drop_finished(stage);
  return {};
}

// From the stage's known values to its live ones, which leave `table` as they will be read by whoever comes later.
Status BlockRun::advance(const Stage& stage, const ForwardUnit& unit, ValueTable& table) {
  std::vector<ValueId> fresh;
  std::set_difference(stage.live.begin(), stage.live.end(), stage.known.begin(), stage.known.end(),
                      std::back_inserter(fresh));
  VN_TRY(forward_.read(unit, stage.known, table));
  if (!fresh.empty()) {
    VN_TRY(forward_.evaluate(stages_quantized_ ? weights_->quantized() : weights_->floating(), unit, table, fresh));
    VN_TRY(forward_.write(unit, fresh, table));
    VN_TRY(forward_.read(unit, fresh, table));
  }
  for (const ValueId v : stage.known) {
    if (!std::binary_search(stage.live.begin(), stage.live.end(), v)) table.erase(v);
  }
  return {};
}

Status BlockRun::feed(StageState& state, const std::vector<int>& wave, bool first, const ForwardUnit& unit,
                      ValueTable& table) {
  const Stage& stage = *state.stage;
  std::vector<ValueId> missing;
  const auto want = [&](int g) {
    const ValueId v = stage.groups[g].input;
    if (!table.has(v) && std::find(missing.begin(), missing.end(), v) == missing.end()) missing.push_back(v);
  };
  for (const int g : wave) want(g);
  for (const StagePool& pool : stage.pools) {
    if (first && pool.source < 0) std::for_each(pool.groups.begin(), pool.groups.end(), want);
  }
  if (!missing.empty()) {
    VN_TRY(forward_.evaluate(stages_quantized_ ? weights_->quantized() : weights_->floating(), unit, table, missing));
  }
  for (const int g : wave) state.groups[g].add(table[stage.groups[g].input].matrix());
  for (std::size_t p = 0; first && p < stage.pools.size(); ++p) {
    const StagePool& pool = stage.pools[p];
    if (pool.source >= 0) {
      state.pools[p].add(table[pool.source].matrix());
    } else {
      for (const int g : pool.groups) state.pools[p].add(table[stage.groups[g].input].matrix());
    }
  }
  return {};
}

Status BlockRun::finish_statistics(StageState& state, const std::vector<int>& wave, bool first) {
  if (first) {
    for (Statistics& pool : state.pools) {
      if (pool.tokens == 0) {
        return fail(ErrorCode::failed, "{}: no calibration token reached any expert", block_.name);
      }
      if (pool.hessian) pool.hessian->finish();
    }
  }
  for (const int g : wave) {
    Statistics& own = state.groups[g];
    const StageGroup& group = state.stage->groups[g];
    if (own.hessian && own.tokens > 0) own.hessian->finish();
    if (group.pool < 0) continue;
    if (own.tokens == 0) {
      notes_.push_back(
          fmt::format("{}: no calibration token reached expert {}; the statistics of all experts' tokens "
                      "stand in for it",
                      block_.ops[group.linears.front()].name, block_.values[group.input].expert));
    }
    if (own.hessian) shrink_to_pool(*own.hessian, *state.pools[group.pool].hessian);
  }
  return {};
}

Status BlockRun::solve_group(const StageGroup& group, const Statistics& own, const Statistics* pool) {
  for (const int op : group.linears) VN_TRY(solve_linear(op, own, pool));
  resources_.methods.solver->release_hessian();
  trim_heap();
  meter_->done(solve_work(group));
  return {};
}

Status BlockRun::solve_linear(int op, const Statistics& own, const Statistics* pool) {
  VN_TRY(check_interrupt());
  const auto begun = std::chrono::steady_clock::now();
  const TensorId t = block_.ops[op].weight;
  const LinearPlan& plan = *quantized_plan(block_, resources_.plans, op);
  BlockTensor tensor;
  tensor.name = block_.tensors[t].name;
  tensor.tokens = own.tokens;
  {
    VN_ASSIGN(const FloatMatrix weight, weights_->values(t));
    weights_->release_pages();
    std::vector<float> gathered;
    if (resources_.methods.gathers_importance(plan))
      gathered = mean_squares(*own.squares, pool ? pool->squares.get() : nullptr);
    const SolveInput input{tensor.name,
                           weight.values,
                           plan.grid,
                           plan.range.get(),
                           own.hessian.get(),
                           plan.column_groups,
                           gathered.empty() ? std::span(plan.importance) : std::span(std::as_const(gathered))};
    VN_ASSIGN(tensor.part, resources_.methods.solver->solve(input, tensor.report));
  }
  const auto& params = tensor.part->params;
  if (!std::all_of(params.begin(), params.end(), [](float p) { return std::isfinite(p); })) {
    return fail(ErrorCode::failed, "{}: the solver returned a scale that is not finite", tensor.name);
  }
  if (plan.activation) {
    const RangeStatistics* range = own.tokens > 0 || !pool ? own.range.get() : pool->range.get();
    tensor.activation = range ? range->calibrate(*plan.activation, resources_.recipe.activations) : plan.activation;
  }
  if (tensor.report.error > 1) {
    notes_.push_back(
        fmt::format("{}: the quantization error is {:.2f} times the output itself", tensor.name, tensor.report.error));
  }
  if (stages_quantized_ || output_quantized_) {
    auto record = std::make_shared<WeightRecord>();
    record->rows = tensor.part->rows;
    record->cols = tensor.part->cols;
    record->parts.emplace_back(*tensor.part);
    weights_->set_quantized(t, std::move(record));
  }
  if (output_quantized_ && (stages_quantized_ || !staged_)) weights_->drop_float(t);
  tensor.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  return emit_(std::move(tensor));
}

Status BlockRun::write_output(SpillFile& output, std::span<const ValueId> known) {
  const ValueId target[] = {block_.output};
  const WeightTable& weights = output_quantized_ ? weights_->quantized() : weights_->floating();
  for (const ForwardUnit& unit : forward_.units()) {
    ValueTable table(block_);
    VN_TRY(forward_.read(unit, known, table));
    VN_TRY(forward_.evaluate(weights, unit, table, target));
    VN_TRY(write_rows(output, unit.first_row, table[block_.output].matrix()));
  }
  weights_->release_pages();
  return output.sync();
}

// Codes of linears that no later stage and not the output runs again.
void BlockRun::drop_finished(const Stage& stage) {
  if (!stages_quantized_ || !output_quantized_) return;
  std::vector<bool> known(block_.values.size(), false);
  for (const ValueId v : stage.live) known[v] = true;
  std::vector<bool> needed(block_.tensors.size(), false);
  const ValueId target[] = {block_.output};
  for (const int i : required_ops(block_, known, target)) {
    if (block_.ops[i].weight >= 0) needed[block_.ops[i].weight] = true;
  }
  for (const StageGroup& group : stage.groups) {
    for (const int i : group.linears) needed[block_.ops[i].weight] = true;
  }
  for (const int i : stage.ops) {
    const TensorId t = block_.ops[i].weight;
    if (t >= 0 && !needed[t]) weights_->drop_quantized(t);
  }
}

double BlockRun::expected_work(const StagePlan& plan) const {
  const double forward = BlockEngine::block_work(block_, resources_.shape.tokens());
  double work = forward * (1 + resources_.methods.transforms.size());
  for (const Stage& stage : plan.stages) {
    work += statistics_work(stage);
    for (const StageGroup& group : stage.groups) work += solve_work(group);
  }
  if (!staged_) {
    for (const StageGroup& group : planned_groups(block_, resources_.plans)) work += solve_work(group);
  }
  return work;
}

// One triangle of x x^T per token.
double BlockRun::statistics_work(const Stage& stage) const {
  if (!resources_.methods.needs_hessian) return 0;
  double work = 0;
  for (const StageGroup& group : stage.groups) {
    const double cols = static_cast<double>(block_.values[group.input].width);
    work += static_cast<double>(resources_.shape.tokens()) * cols * cols / 2;
  }
  return work;
}

// A factor of the Hessian, a sweep over each matrix.
double BlockRun::solve_work(const StageGroup& group) const {
  if (!resources_.methods.needs_hessian) return matrix_elements(block_, group.linears);
  const double cols = static_cast<double>(block_.values[group.input].width);
  return cols * cols * cols * 2 / 3 + matrix_elements(block_, group.linears) * cols / 2;
}

}  // namespace vernier
