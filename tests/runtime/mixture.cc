#include "runtime/mixture.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/tiny_model.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

Buffer buffer(std::int64_t rows, std::int64_t cols, std::vector<float> data) {
  Buffer b(rows, cols);
  b.data = std::move(data);
  return b;
}

Op route_op(std::int64_t top_k, bool renormalize) {
  Op op{.kind = OpKind::route, .name = "route"};
  op.top_k = top_k;
  op.renormalize = renormalize;
  return op;
}

TEST(Route, PicksTheLargestSharesAndBreaksTiesByIndex) {
  const Buffer logits = buffer(2, 4, {0, 2, 1, -1, 3, 3, 3, 3});
  const double sum = 1 + std::exp(2.0) + std::exp(1.0) + std::exp(-1.0);

  const Buffer shares = route(route_op(2, false), logits.matrix());
  ASSERT_EQ(shares.cols, 4);
  EXPECT_EQ(shares.data[0], 1);
  EXPECT_EQ(shares.data[1], 2);
  EXPECT_NEAR(shares.data[2], std::exp(2.0) / sum, 1e-6);
  EXPECT_NEAR(shares.data[3], std::exp(1.0) / sum, 1e-6);
  EXPECT_EQ(shares.data[4], 0);
  EXPECT_EQ(shares.data[5], 1);
  EXPECT_NEAR(shares.data[6], 0.25, 1e-7);

  const Buffer whole = route(route_op(2, true), logits.matrix());
  EXPECT_NEAR(whole.data[2], std::exp(1.0) / (1 + std::exp(1.0)), 1e-6);
  EXPECT_NEAR(whole.data[2] + whole.data[3], 1, 1e-6);
}

TEST(Route, TakesEveryExpert) {
  const Buffer logits = buffer(1, 3, {0, 5, 2});
  const Buffer routing = route(route_op(3, false), logits.matrix());
  EXPECT_EQ(std::vector<float>(routing.data.begin(), routing.data.begin() + 3), (std::vector<float>{1, 2, 0}));
  EXPECT_NEAR(routing.data[3] + routing.data[4] + routing.data[5], 1, 1e-6);
}

TEST(Mixture, GathersInTokenOrderAndCombinesByWeight) {
  // Tokens 0 and 2 go to expert 2, token 1 to experts 0 and 2; expert 1 sees nothing.
  const Buffer routing = buffer(3, 4, {2, 0, 0.75f, 0.25f, 0, 2, 0.5f, 0.5f, 2, 0, 1, 0});
  const Buffer x = buffer(3, 2, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(gather(2, x.matrix(), routing.matrix()).data, x.data);
  const Buffer none = gather(1, x.matrix(), routing.matrix());
  EXPECT_EQ(none.rows, 0);
  EXPECT_EQ(none.cols, 2);

  const Buffer zero = buffer(3, 2, {10, 10, 20, 20, 30, 30}), two = buffer(3, 2, {1, 2, 3, 4, 5, 6});
  const Matrix<const float> outputs[] = {zero.matrix(), none.matrix(), two.matrix()};
  const Buffer sum = combine(routing.matrix(), outputs, 2);
  EXPECT_EQ(sum.data, (std::vector<float>{0.25f * 10 + 0.75f * 1, 0.25f * 10 + 0.75f * 2, 0.5f * 20 + 0.5f * 3,
                                          0.5f * 20 + 0.5f * 4, 5, 6}));
}

// One token and eight experts: six of them get no rows.
TEST(Mixture, ABlockRunsWithExpertsThatSeeNothing) {
  const TinyModel model(mixtral_config(8));
  const Graph& graph = model.graph().blocks[0];
  const auto weights = load_weights(model, graph);
  VN_ASSERT_OK(weights);
  ValueTable values(graph);
  Buffer x(1, 32);
  for (int i = 0; i < 32; ++i) x.data[i] = std::sin(static_cast<float>(i));
  values.set(graph.input, x);
  std::vector<ValueId> targets = {graph.output};
  for (const Op& op : graph.ops) {
    if (op.kind == OpKind::gather) targets.push_back(op.output);
  }
  VN_ASSERT_OK(make_core_executor()->evaluate(graph, *weights, Batch::uniform(1, 1), values, targets));
  std::int64_t rows = 0;
  for (std::size_t i = 1; i < targets.size(); ++i) rows += values[targets[i]].rows;
  EXPECT_EQ(targets.size(), 9u);
  EXPECT_EQ(rows, 2);
  for (float v : values[graph.output].data) EXPECT_TRUE(std::isfinite(v));
}

}  // namespace
}  // namespace vernier::testing
