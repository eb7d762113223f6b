#include "block_engine_fixture.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "arch/architecture.h"
#include "base/random.h"
#include "tensor/convert.h"
#include "tensor/spill.h"

namespace vernier::testing {

Result<std::unique_ptr<FloatSource>> FloatSource::open(const std::string& folder) {
  auto source = std::make_unique<FloatSource>();
  VN_ASSIGN(source->checkpoint_, Checkpoint::open(folder));
  source->path_ = folder;
  source->container_ = "safetensors";
  source->config_ = source->checkpoint_->config();
  VN_ASSIGN(source->graph_, build_model_graph(source->config_, folder));
  return source;
}

Result<std::shared_ptr<const WeightMatrix>> FloatSource::matrix(const std::string& name) const {
  VN_ASSIGN(const TensorView view, checkpoint_->view(name));
  return dense_matrix(view, nullptr);
}

Result<Tensor> FloatSource::vector(const std::string& name) const {
  VN_ASSIGN(const TensorView view, checkpoint_->view(name));
  return to_float_tensor(view, name);
}

void FloatSource::release(const Graph& graph) const {
  for (const TensorRef& tensor : graph.tensors) checkpoint_->release(tensor.name);
}

CalibrationSet random_tokens(std::int64_t samples, std::int64_t ctx, std::int64_t vocab) {
  CalibrationSet set{samples, ctx, {}, "random", "random"};
  const Random random(7);
  for (std::int64_t i = 0; i < samples * ctx; ++i) {
    set.ids.push_back(static_cast<TokenId>(random.below(static_cast<std::uint64_t>(i), vocab)));
  }
  return set;
}

std::map<std::string, LinearPlan> plan_all(const Graph& block, int bits, std::optional<ActivationSpec> activation) {
  const auto grid = make_grid({"int", bits, true, 64, DType::f16});
  const std::shared_ptr<const Range> range = make_range({}).value();
  std::map<std::string, LinearPlan> plans;
  for (const Op& op : block.ops) {
    if (op.kind != OpKind::linear || op.name.ends_with(".gate")) continue;
    plans[block.tensors[op.weight].name] = {grid.value(), range, activation, false};
  }
  return plans;
}

Result<std::unique_ptr<BlockEngine>> EngineRun::engine() const {
  return BlockEngine::make(source, calibration, plans, make_core_executor(), {scratch, recipe});
}

BlockResult EngineRun::first_block() const {
  BlockResult result;
  auto made = engine();
  if (!made.ok()) {
    result.status = std::move(made).take_error();
    return result;
  }
  BlockEngine& engine = **made;
  engine.on_progress = [&](double work) { result.work += work; };
  result.status = engine.begin();
  if (!result.status.ok()) return result;
  const EmitTensor emit = [&](BlockTensor tensor) -> Status {
    if (on_tensor) on_tensor(tensor);
    result.order.push_back(tensor.name);
    result.tensors[tensor.name] = std::move(tensor);
    return {};
  };
  result.status = engine.run_block(0, emit, result.notes);
  if (result.status.ok()) result.hidden = read_hidden(*this, 1);
  return result;
}

std::vector<float> read_hidden(const EngineRun& run, int block) {
  const std::int64_t tokens = run.calibration.samples * run.calibration.ctx, width = run.source.graph().hidden;
  const DType dtype = run.recipe.calibration.spill == "f32" ? DType::f32 : DType::bf16;
  auto file = SpillFile::open(run.scratch + "/hidden." + std::to_string(block), dtype, tokens, width);
  std::vector<float> values(tokens * width);
  if (!file.ok() || !(*file)->read(0, {values.data(), tokens, width}).ok()) ADD_FAILURE() << "hidden." << block;
  return values;
}

std::vector<float> direct_forward(const EngineRun& run, const std::map<std::string, BlockTensor>& tensors) {
  const Graph& block = run.source.graph().blocks[0];
  WeightTable weights = load_weights(run.source, block).value();
  for (std::size_t t = 0; t < block.tensors.size(); ++t) {
    const auto it = tensors.find(block.tensors[t].name);
    if (it == tensors.end()) continue;
    if (const auto& dense = it->second.dense) {
      auto vector = std::make_shared<Tensor>(dense->dtype(), dense->shape());
      std::copy(dense->bytes().begin(), dense->bytes().end(), vector->bytes().begin());
      weights.vectors[t] = vector;
      continue;
    }
    auto record = std::make_shared<WeightRecord>();
    record->rows = it->second.part->rows;
    record->cols = it->second.part->cols;
    record->parts.emplace_back(*it->second.part);
    weights.matrices[t] = record_matrix(record);
  }
  ValueTable values(block);
  Buffer input(run.calibration.samples * run.calibration.ctx, run.source.graph().hidden);
  input.data = read_hidden(run, 0);
  values.set(block.input, std::move(input));
  const ValueId target[] = {block.output};
  const Status status = make_core_executor()->evaluate(
      block, weights, Batch::uniform(run.calibration.samples, run.calibration.ctx), values, target);
  EXPECT_TRUE(status.ok());
  return values.take(block.output).data;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, magnitude = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::fabs(static_cast<double>(a[i]) - b[i]));
    magnitude = std::max(magnitude, std::fabs(static_cast<double>(a[i])));
  }
  return difference / magnitude;
}

void expect_same_bytes(const BlockResult& a, const BlockResult& b) {
  EXPECT_EQ(a.order, b.order);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    if (tensor.dense) {
      EXPECT_TRUE(std::ranges::equal(tensor.dense->bytes(), b.tensors.at(name).dense->bytes())) << name;
      continue;
    }
    const GridPart& x = *tensor.part;
    const GridPart& y = *b.tensors.at(name).part;
    EXPECT_EQ(x.codes, y.codes) << name;
    EXPECT_EQ(x.params, y.params) << name;
    EXPECT_EQ(x.group_of_column, y.group_of_column) << name;
  }
  EXPECT_EQ(a.hidden, b.hidden);
}

}  // namespace vernier::testing
