// The pieces the engine is made of: stages from a graph, range statistics, what transforms are shown.
#include <cmath>

#include "arch/architecture.h"
#include "base/random.h"
#include "base/threads.h"
#include "block_engine_fixture.h"
#include "pipeline/block_context.h"
#include "pipeline/block_forward.h"
#include "pipeline/block_stages.h"
#include "pipeline/block_statistics.h"
#include "pipeline/block_weights.h"

namespace vernier::testing {
namespace {

std::vector<std::string> names(const Graph& block, const std::vector<ValueId>& values) {
  std::vector<std::string> result;
  for (const ValueId v : values) {
    const std::string& name = block.values[v].name;
    result.push_back(name.substr(name.rfind('.') + 1));
  }
  return result;
}

TEST(BlockStagesTest, DenseBlockKeepsResidualAndGroupInput) {
  const auto source = FloatSource::open(bundled_model());
  VN_ASSERT_OK(source);
  const Graph& block = (*source)->graph().blocks[0];
  const StagePlan plan = plan_stages(block, plan_all(block, 4));
  ASSERT_EQ(plan.stages.size(), 4u);
  const std::size_t linears[] = {3, 1, 2, 1};
  for (std::size_t s = 0; s < 4; ++s) {
    const Stage& stage = plan.stages[s];
    ASSERT_EQ(stage.groups.size(), 1u);
    EXPECT_EQ(stage.groups[0].linears.size(), linears[s]);
    EXPECT_EQ(stage.groups[0].pool, -1);
    EXPECT_EQ(stage.waves, std::vector<std::vector<int>>{{0}});
    ASSERT_EQ(stage.live.size(), 2u) << s;
    EXPECT_TRUE(std::find(stage.live.begin(), stage.live.end(), stage.groups[0].input) != stage.live.end());
    EXPECT_EQ(stage.known, s == 0 ? std::vector<ValueId>{block.input} : plan.stages[s - 1].live);
  }
  EXPECT_EQ(names(block, plan.stages[0].live).back(), "input_layernorm");
  EXPECT_EQ(names(block, plan.stages[2].live).back(), "post_attention_layernorm");
  EXPECT_EQ(plan.known, plan.stages[3].live);
}

TEST(BlockStagesTest, EveryLinearRunsOnceBetweenStages) {
  const auto source = FloatSource::open(bundled_model());
  VN_ASSERT_OK(source);
  const Graph& block = (*source)->graph().blocks[0];
  const StagePlan plan = plan_stages(block, plan_all(block, 4));
  std::vector<int> runs(block.ops.size(), 0);
  for (const Stage& stage : plan.stages) {
    for (const int op : stage.ops) ++runs[op];
  }
  std::vector<bool> known(block.values.size(), false);
  for (const ValueId v : plan.known) known[v] = true;
  const ValueId target[] = {block.output};
  for (const int op : required_ops(block, known, target)) ++runs[op];
  EXPECT_EQ(runs, std::vector<int>(block.ops.size(), 1));
}

TEST(RangeStatisticsTest, MinMaxGivesTheDocumentedScales) {
  RangeStatistics range(false);
  EXPECT_TRUE(range.empty());
  std::vector<float> x{-1.5f, 0.25f, 3.0f, -0.5f};
  range.add(Matrix<const float>(x.data(), 2, 2));
  ActivationSpec spec;
  spec.dynamic = spec.per_token = false;
  EXPECT_FLOAT_EQ(range.calibrate(spec, {}).scale, 3.0f / 127);
  spec.full_range = true;
  EXPECT_FLOAT_EQ(range.calibrate(spec, {}).scale, 6.0f / 255);
  spec.symmetric = false;
  EXPECT_FLOAT_EQ(range.calibrate(spec, {}).scale, 4.5f / 255);
  EXPECT_EQ(range.calibrate(spec, {}).zero, 85.0f);
}

TEST(RangeStatisticsTest, ConstantZeroInputKeepsAFiniteScale) {
  RangeStatistics range(true);
  std::vector<float> x(8, 0.0f);
  range.add(Matrix<const float>(x.data(), 2, 4));
  for (const bool symmetric : {true, false}) {
    ActivationSpec spec;
    spec.symmetric = symmetric;
    EXPECT_GT(range.calibrate(spec, {}).scale, 0);
    EXPECT_EQ(range.calibrate(spec, {}).zero, 0);
  }
}

TEST(RangeStatisticsTest, PercentileIsExactForBf16ValuesAtAnyCut) {
  // Magnitudes to 100 are exact in bf16. One percent of 200 values: both of magnitude 100, or two at each end.
  std::vector<float> x;
  for (int i = 1; i <= 100; ++i) {
    x.push_back(static_cast<float>(i));
    x.push_back(static_cast<float>(-i));
  }
  ActivationRecipe recipe;
  recipe.percentile = 99;
  ActivationSpec spec;
  RangeStatistics whole(true), cut(true), half(true);
  whole.add(Matrix<const float>(x.data(), 100, 2));
  cut.add(Matrix<const float>(x.data(), 33, 2));
  half.add(Matrix<const float>(x.data() + 66, 67, 2));
  cut.merge(half);
  EXPECT_FLOAT_EQ(whole.calibrate(spec, recipe).scale, 99.0f / 127);
  EXPECT_EQ(whole.calibrate(spec, recipe), cut.calibrate(spec, recipe));
  spec.symmetric = false;
  EXPECT_FLOAT_EQ(whole.calibrate(spec, recipe).scale, (98.0f + 98.0f) / 255);
}

TEST(ShrinkToPoolTest, FewTokensBorrowAndNoneTakesAll) {
  const std::int64_t columns = 20;  // tau = 2
  std::vector<float> ones(columns * 4, 1.0f), threes(columns, 3.0f);
  Hessian pool(columns), some(columns), none(columns);
  pool.add({threes.data(), 1, columns});
  some.add({ones.data(), 4, columns});
  pool.finish();
  some.finish();
  shrink_to_pool(some, pool);
  shrink_to_pool(none, pool);
  EXPECT_NEAR(some.matrix()(3, 5), (4 * 2.0 + 2 * 18.0) / 6, 1e-5);  // 2 x x^T is 2 here, 18 in the pool
  EXPECT_EQ(none.matrix()(3, 5), pool.matrix()(3, 5));
  EXPECT_EQ(none.matrix()(5, 3), pool.matrix()(5, 3));
}

// The Hessian's diagonal is twice the mean square, and both shrink alike.
TEST(MeanSquaresTest, AgreeWithTheHessiansDiagonal) {
  const std::int64_t columns = 40;
  std::vector<float> x(columns * 70);
  const Random random(8);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i) * static_cast<float>(1 + i % 5);
  const Matrix<const float> few(x.data(), 6, columns), all(x.data(), 70, columns);
  Hessian own(columns), none(columns), pool(columns);
  SquareSums own_squares(columns), no_squares(columns), pool_squares(columns);
  own.add(few), own_squares.add(few);
  pool.add(all), pool_squares.add(all);
  own.finish(), pool.finish();
  const auto alone = mean_squares(own_squares, nullptr);
  for (std::int64_t c = 0; c < columns; ++c) EXPECT_NEAR(2 * alone[c], own.matrix()(c, c), 1e-4 * alone[c]);
  shrink_to_pool(own, pool);
  shrink_to_pool(none, pool);
  const auto shrunk = mean_squares(own_squares, &pool_squares), borrowed = mean_squares(no_squares, &pool_squares);
  for (std::int64_t c = 0; c < columns; ++c) {
    EXPECT_NEAR(2 * shrunk[c], own.matrix()(c, c), 1e-4 * shrunk[c]);
    EXPECT_NEAR(2 * borrowed[c], none.matrix()(c, c), 1e-4 * borrowed[c]);
  }
}

TEST(FirstBadRowTest, FindsInfinityAndNan) {
  std::vector<float> x(300 * 7, 1e38f);
  const Matrix<const float> m(x.data(), 300, 7);
  EXPECT_EQ(first_bad_row(m), -1);
  x[250 * 7 + 6] = NAN;
  EXPECT_EQ(first_bad_row(m), 250);
  x[70 * 7] = INFINITY;
  EXPECT_EQ(first_bad_row(m), 70);
}

class EngineContextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_ = FloatSource::open(bundled_model()).value();
    calibration_ = random_tokens(20, 64, source_->graph().vocab);
    recipe_.calibration.spill = "f32";
    recipe_.solver = {"rtn", {}};
    plans_ = plan_all(block(), 4);
    run_ = std::make_unique<EngineRun>(EngineRun{*source_, calibration_, plans_, recipe_, scratch_.path(), {}});
    VN_ASSERT_OK((*run_->engine())->begin());
    hidden_ = SpillFile::open(scratch_.path("hidden.0"), DType::f32, 20 * 64, source_->graph().hidden).value();
    executor_ = make_core_executor();
    weights_ = std::make_unique<BlockWeights>(BlockWeights::load(*source_, block()).value());
    forward_ =
        std::make_unique<BlockForward>(block(), *executor_, *hidden_, SampleShape{20, 64}, scratch_.path(), DType::f32);
    context_ = std::make_unique<EngineContext>(block(), 0, *weights_, *forward_, *executor_, plans_, notes_);
  }
  const Graph& block() const { return source_->graph().blocks[0]; }
  int op(const std::string& suffix) const {
    for (int i = 0; i < static_cast<int>(block().ops.size()); ++i) {
      if (block().ops[i].name.ends_with(suffix)) return i;
    }
    ADD_FAILURE() << suffix;
    return 0;
  }

  TempDir scratch_;
  std::unique_ptr<FloatSource> source_;
  CalibrationSet calibration_;
  Recipe recipe_;
  std::map<std::string, LinearPlan> plans_;
  std::unique_ptr<EngineRun> run_;
  std::unique_ptr<SpillFile> hidden_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<BlockWeights> weights_;
  std::unique_ptr<BlockForward> forward_;
  std::vector<std::string> notes_;
  std::unique_ptr<EngineContext> context_;
};

TEST_F(EngineContextTest, StatisticsAgreeWithCapturedValues) {
  const ValueId values[] = {block().ops[op("q_proj")].inputs[0], block().ops[op("down_proj")].inputs[0]};
  const auto stats = context_->channel_stats(values);
  VN_ASSERT_OK(stats);
  const auto capture = context_->capture(values, 20 * 64);
  VN_ASSERT_OK(capture);
  for (int i = 0; i < 2; ++i) {
    const Buffer& x = capture->values[values[i]];
    ASSERT_EQ(x.rows, 20 * 64);
    const ChannelStats& s = (*stats)[i];
    EXPECT_EQ(s.tokens, 20 * 64);
    for (std::int64_t c = 0; c < x.cols; c += 37) {
      float low = INFINITY, high = -INFINITY;
      double sum = 0;
      for (std::int64_t r = 0; r < x.rows; ++r) {
        const float v = x.matrix()(r, c);
        low = std::min(low, v);
        high = std::max(high, v);
        sum += std::fabs(v);
      }
      EXPECT_EQ(s.min[c], low);
      EXPECT_EQ(s.max[c], high);
      EXPECT_EQ(s.absmax[c], std::max(-low, high));
      EXPECT_NEAR(s.mean_abs[c], sum / x.rows, 1e-5 * sum / x.rows);
    }
  }
}

TEST_F(EngineContextTest, CaptureTakesWholeSequences) {
  const ValueId value[] = {block().ops[op("q_proj")].inputs[0]};
  EXPECT_EQ(context_->capture(value, 3 * 64 + 10)->batch.rows(), 3 * 64);
  EXPECT_EQ(context_->capture(value, 1)->batch.rows(), 64);
  EXPECT_EQ(context_->capture(value, 1 << 20)->batch.rows(), 20 * 64);
}

TEST_F(EngineContextTest, ChangedMastersAreSeenByTheForward) {
  const Op& norm = block().ops[op("input_layernorm")];
  const ValueId value[] = {norm.output};
  const auto before = context_->channel_stats(value);
  auto master = context_->master(norm.weight);
  VN_ASSERT_OK(master);
  for (float& w : (*master)->as<float>()) w *= 2;
  VN_ASSERT_OK(context_->master_changed(norm.weight));
  const auto after = context_->channel_stats(value);
  VN_ASSERT_OK(after);
  EXPECT_EQ((*after)[0].absmax[5], 2 * (*before)[0].absmax[5]);

  const Op& linear = block().ops[op("q_proj")];
  const ValueId query[] = {linear.output};
  const auto q = context_->channel_stats(query);
  auto weight = context_->master(linear.weight);
  VN_ASSERT_OK(weight);
  for (float& w : (*weight)->as<float>()) w *= 0.5f;
  VN_ASSERT_OK(context_->master_changed(linear.weight));
  EXPECT_NEAR((*context_->channel_stats(query))[0].absmax[3], (*q)[0].absmax[3] / 2, 1e-5);
  EXPECT_EQ(*context_->master(linear.weight), *weight) << "one master per tensor";
}

TEST_F(EngineContextTest, ShowsThePlanOfALinear) {
  plans_.erase(block().tensors[block().ops[op("o_proj")].weight].name);
  EXPECT_EQ(context_->grid(op("o_proj")), nullptr);
  EXPECT_EQ(context_->range(op("o_proj")), nullptr);
  EXPECT_EQ(context_->grid(op("q_proj"))->spec().bits, 4);
  EXPECT_EQ(context_->grid(op("input_layernorm")), nullptr);
  context_->note("something");
  EXPECT_EQ(notes_, std::vector<std::string>{"model.layers.0: something"});
}

}  // namespace
}  // namespace vernier::testing
