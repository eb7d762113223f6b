#include "pipeline/block_engine.h"

#include <cmath>
#include <set>

#include "base/interrupt.h"
#include "base/threads.h"
#include "block_engine_fixture.h"
#include "io/files.h"

namespace vernier::testing {
namespace {

class BlockEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = FloatSource::open(bundled_model());
    VN_ASSERT_OK(opened);
    source_ = std::move(opened).value();
    calibration_ = random_tokens(4, 64, source_->graph().vocab);
  }
  void TearDown() override {
    clear_interrupt();
    set_thread_count(0);
  }

  EngineRun run(const std::string& folder, const std::string& solver = "gptq", int bits = 3) const {
    EngineRun run{*source_, calibration_, plan_all(block(), bits), {}, scratch_.path(folder), {}};
    run.recipe.solver = {solver, {}};
    return run;
  }
  const Graph& block() const { return source_->graph().blocks[0]; }

  TempDir scratch_;
  std::unique_ptr<FloatSource> source_;
  CalibrationSet calibration_;
};

TEST_F(BlockEngineTest, EmitsEveryPlannedLinearOnce) {
  EngineRun engine = run("a");
  const BlockResult result = engine.first_block();
  VN_ASSERT_OK(result.status);
  EXPECT_EQ(result.order.size(), 7u);
  EXPECT_EQ(result.tensors.size(), engine.plans.size());
  for (const auto& [name, tensor] : result.tensors) {
    EXPECT_TRUE(engine.plans.contains(name)) << name;
    ASSERT_TRUE(tensor.part) << name;
    EXPECT_EQ(tensor.tokens, 4 * 64);
    EXPECT_FALSE(tensor.dense);
    EXPECT_FALSE(tensor.activation);
  }
  EXPECT_EQ(result.order.front(), "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(result.order.back(), "model.layers.0.mlp.down_proj.weight");
}

TEST_F(BlockEngineTest, GptqBeatsRoundToNearestOnItsOwnTokens) {
  const BlockResult result = run("a").first_block();
  VN_ASSERT_OK(result.status);
  for (const auto& [name, tensor] : result.tensors) {
    EXPECT_GT(tensor.report.error, 0) << name;
    EXPECT_LT(tensor.report.error, 0.8 * tensor.report.error_rtn) << name;
  }
}

TEST_F(BlockEngineTest, NextInputIsTheForwardOfTheQuantizedBlock) {
  for (const char* spill : {"f32", "bf16"}) {
    EngineRun engine = run(spill);
    engine.recipe.calibration.spill = spill;
    const BlockResult result = engine.first_block();
    VN_ASSERT_OK(result.status);
    const std::vector<float> quantized = direct_forward(engine, result.tensors);
    const double tolerance = std::string(spill) == "f32" ? 1e-5 : 8e-3;
    EXPECT_LT(relative_difference(quantized, result.hidden), tolerance) << spill;
    EXPECT_GT(relative_difference(quantized, direct_forward(engine, {})), 3 * tolerance) << "the test sees nothing";
  }
}

TEST_F(BlockEngineTest, WithoutPropagationTheNextBlockSeesFloat) {
  for (const bool sequential : {true, false}) {
    EngineRun engine = run(sequential ? "sequential" : "parallel");
    engine.recipe.calibration.spill = "f32";
    engine.recipe.calibration.propagate = false;
    engine.recipe.calibration.true_sequential = sequential;
    const BlockResult result = engine.first_block();
    VN_ASSERT_OK(result.status);
    EXPECT_LT(relative_difference(direct_forward(engine, {}), result.hidden), 1e-5);
  }
}

TEST_F(BlockEngineTest, TrueSequentialChangesLaterLinearsOnly) {
  EngineRun sequential = run("sequential"), parallel = run("parallel");
  parallel.recipe.calibration.true_sequential = false;
  const BlockResult a = sequential.first_block(), b = parallel.first_block();
  VN_ASSERT_OK(a.status);
  VN_ASSERT_OK(b.status);
  const auto same = [&](const std::string& module) {
    const std::string name = "model.layers.0." + module + ".weight";
    return a.tensors.at(name).part->codes == b.tensors.at(name).part->codes;
  };
  for (const char* module : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) EXPECT_TRUE(same(module));
  for (const char* module : {"self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"}) EXPECT_FALSE(same(module));
  // Either way the next block sees this one quantized.
  EXPECT_LT(relative_difference(direct_forward(parallel, b.tensors), b.hidden), 1e-2);
}

TEST_F(BlockEngineTest, SameBytesAtAnyThreadCount) {
  set_thread_count(1);
  const BlockResult one = run("one").first_block();
  VN_ASSERT_OK(one.status);
  for (const int threads : {2, 3}) {
    set_thread_count(threads);
    const BlockResult more = run("more").first_block();
    VN_ASSERT_OK(more.status);
    expect_same_bytes(one, more);
  }
}

TEST_F(BlockEngineTest, UnitsOfTheForwardDependOnTheContextAlone) {
  EXPECT_EQ(BlockEngine::forward_sequences(512), 2);
  EXPECT_EQ(BlockEngine::forward_sequences(4096), 1);
  // Several units, the last one shorter, give what one forward over everything gives.
  calibration_ = random_tokens(19, 64, source_->graph().vocab);
  EngineRun engine = run("a", "rtn");
  engine.recipe.calibration.spill = "f32";
  const BlockResult result = engine.first_block();
  VN_ASSERT_OK(result.status);
  EXPECT_LT(relative_difference(direct_forward(engine, result.tensors), result.hidden), 1e-5);
}

TEST_F(BlockEngineTest, StoppedAndRepeatedGivesTheSameBytes) {
  const BlockResult whole = run("whole").first_block();
  VN_ASSERT_OK(whole.status);
  for (const int stop_after : {1, 4, 7}) {
    EngineRun engine = run("stopped");
    int emitted = 0;
    engine.on_tensor = [&](const BlockTensor&) {
      if (++emitted == stop_after) request_interrupt();
    };
    const BlockResult stopped = engine.first_block();
    ASSERT_FALSE(stopped.status.ok());
    EXPECT_EQ(stopped.status.error().code, ErrorCode::interrupted);
    EXPECT_EQ(static_cast<int>(stopped.order.size()), stop_after);
    clear_interrupt();
    engine.on_tensor = {};
    const BlockResult repeated = engine.first_block();
    VN_ASSERT_OK(repeated.status);
    expect_same_bytes(whole, repeated);
  }
}

TEST_F(BlockEngineTest, LeavesOnlyHiddenStatesBehind) {
  EngineRun engine = run("a");
  VN_ASSERT_OK(engine.first_block().status);
  EXPECT_EQ(list_directory(engine.scratch), (std::vector<std::string>{"hidden.0", "hidden.1"}));
  auto made = engine.engine();
  VN_ASSERT_OK(made);
  VN_ASSERT_OK((*made)->forget(0));
  VN_ASSERT_OK((*made)->forget(0));
  EXPECT_EQ(list_directory(engine.scratch), std::vector<std::string>{"hidden.1"});
  std::vector<std::string> notes;
  const Status lost = (*made)->run_block(
      0, [](BlockTensor) { return Status(); }, notes);
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, ErrorCode::not_found);
}

TEST_F(BlockEngineTest, StaticScalesCoverTheInputs) {
  ActivationSpec spec;
  spec.dynamic = spec.per_token = false;
  EngineRun engine = run("a", "rtn", 8);
  engine.plans = plan_all(block(), 8, spec);
  engine.recipe.calibration.true_sequential = false;
  engine.recipe.calibration.spill = "f32";
  const BlockResult result = engine.first_block();
  VN_ASSERT_OK(result.status);

  const WeightTable weights = load_weights(*source_, block()).value();
  for (const Op& op : block().ops) {
    if (op.kind != OpKind::linear) continue;
    ValueTable values(block());
    Buffer input(4 * 64, source_->graph().hidden);
    input.data = read_hidden(engine, 0);
    values.set(block().input, std::move(input));
    const ValueId target[] = {op.inputs[0]};
    VN_ASSERT_OK(make_core_executor()->evaluate(block(), weights, Batch::uniform(4, 64), values, target));
    float absmax = 0;
    for (const float v : values[op.inputs[0]].data) absmax = std::max(absmax, std::fabs(v));
    const BlockTensor& tensor = result.tensors.at(block().tensors[op.weight].name);
    ASSERT_TRUE(tensor.activation) << op.name;
    EXPECT_NEAR(tensor.activation->scale, absmax / 127, 1e-4 * absmax / 127) << op.name;
  }
}

TEST_F(BlockEngineTest, TransformedVectorsAreEmittedAndMatricesRoundedFromTheirMasters) {
  for (const char* solver : {"rtn", "gptq"}) {
    EngineRun engine = run(solver, solver, 8);
    engine.recipe.transforms = {{"smoothquant", {{"alpha", "0.5"}}}};
    engine.recipe.calibration.spill = "f32";
    const BlockResult result = engine.first_block();
    VN_ASSERT_OK(result.status);
    EXPECT_TRUE(result.tensors.at("model.layers.0.input_layernorm.weight").dense);
    EXPECT_TRUE(result.tensors.at("model.layers.0.post_attention_layernorm.weight").dense);
    EXPECT_TRUE(result.tensors.at("model.layers.0.self_attn.q_proj.weight").part);
    EXPECT_LT(relative_difference(direct_forward(engine, result.tensors), result.hidden), 1e-5);
    // 8 bits on a function that was only rewritten: close to the float block.
    EXPECT_LT(relative_difference(direct_forward(engine, {}), result.hidden), 2e-2);
  }
}

TEST_F(BlockEngineTest, ReportsAllOfItsWork) {
  for (const char* solver : {"rtn", "gptq"}) {
    const BlockResult result = run(solver, solver).first_block();
    VN_ASSERT_OK(result.status);
    const double wanted = BlockEngine::block_work(block(), 4 * 64);
    EXPECT_NEAR(result.work, wanted, 1e-6 * wanted);
  }
}

TEST_F(BlockEngineTest, TellsWhatItNeeds) {
  const EngineRun engine = run("a");
  Recipe rtn = engine.recipe;
  rtn.solver = {"rtn", {}};
  const std::int64_t gptq_bytes = BlockEngine::peak_bytes(block(), engine.plans, engine.recipe, 64);
  const std::int64_t rtn_bytes = BlockEngine::peak_bytes(block(), engine.plans, rtn, 64);
  EXPECT_GT(rtn_bytes, 0);
  EXPECT_GE(gptq_bytes, rtn_bytes + Hessian::bytes(768));
  // hidden before and after the block, the residual and the input of down_proj, in bf16.
  EXPECT_EQ(BlockEngine::scratch_bytes(block(), engine.plans, engine.recipe, 4, 64),
            4 * 64 * 2 * (2 * 256 + 256 + std::max(256 + 256, 256 + 768)));
}

TEST_F(BlockEngineTest, RefusesWhatDoesNotFit) {
  CalibrationSet empty;
  EngineRun engine{*source_, empty, plan_all(block(), 4), {}, scratch_.path("a"), {}};
  EXPECT_EQ(engine.engine().error().code, ErrorCode::invalid);
  calibration_.ids[3] = static_cast<TokenId>(source_->graph().vocab);
  EXPECT_EQ(run("a").engine().error().code, ErrorCode::invalid);
  calibration_.ids[3] = 0;
  EXPECT_FALSE(run("a", "nonesuch").engine().ok());
}

}  // namespace
}  // namespace vernier::testing
