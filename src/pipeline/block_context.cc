#include "pipeline/block_context.h"

#include <algorithm>

#include "base/fail.h"
#include "pipeline/block_stages.h"
#include "pipeline/block_statistics.h"

namespace vernier {

Status EngineContext::master_changed(TensorId tensor) {
  VN_TRY(weights_.master(tensor));
  weights_.install_master(tensor);
  return {};
}

Result<std::vector<ChannelStats>> EngineContext::channel_stats(std::span<const ValueId> values) {
  std::vector<ChannelAccumulator> accumulators;
  for (const ValueId v : values) accumulators.emplace_back(block_.values[v].width);
  const ValueId input[] = {block_.input};
  for (const ForwardUnit& unit : forward_.units()) {
    ValueTable table(block_);
    VN_TRY(forward_.read(unit, input, table));
    VN_TRY(forward_.evaluate(weights_.floating(), unit, table, values));
    for (std::size_t i = 0; i < values.size(); ++i) accumulators[i].add(table[values[i]].matrix());
  }
  std::vector<ChannelStats> stats;
  for (const ChannelAccumulator& accumulator : accumulators) stats.push_back(accumulator.finish());
  return stats;
}

Result<Capture> EngineContext::capture(std::span<const ValueId> values, std::int64_t max_tokens) {
  const SampleShape shape = forward_.shape();
  const SampleShape part{std::clamp<std::int64_t>(max_tokens / shape.ctx, 1, shape.samples), shape.ctx};
  Capture capture{Batch::uniform(part.samples, part.ctx), ValueTable(block_)};
  std::vector<Buffer> whole(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) whole[i].cols = block_.values[values[i]].width;

  const ValueId input[] = {block_.input};
  for (const ForwardUnit& unit : part.units(BlockEngine::forward_sequences(part.ctx))) {
    ValueTable table(block_);
    VN_TRY(forward_.read(unit, input, table));
    VN_TRY(forward_.evaluate(weights_.floating(), unit, table, values));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Buffer& rows = table[values[i]];
      whole[i].rows += rows.rows;
      whole[i].data.insert(whole[i].data.end(), rows.data.begin(), rows.data.end());
    }
  }
  for (std::size_t i = 0; i < values.size(); ++i) capture.values.set(values[i], std::move(whole[i]));
  return capture;
}

std::shared_ptr<const Grid> EngineContext::grid(int linear_op) const {
  const LinearPlan* plan = quantized_plan(block_, plans_, linear_op);
  return plan ? plan->grid : nullptr;
}

const Range* EngineContext::range(int linear_op) const {
  const LinearPlan* plan = quantized_plan(block_, plans_, linear_op);
  return plan ? plan->range.get() : nullptr;
}

std::optional<ActivationSpec> EngineContext::activation(int linear_op) const {
  const LinearPlan* plan = quantized_plan(block_, plans_, linear_op);
  return plan ? plan->activation : std::nullopt;
}

}  // namespace vernier
