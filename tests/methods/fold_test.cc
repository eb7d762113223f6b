#include "methods/fold.h"

#include <limits>
#include <set>

#include "base/random.h"
#include "methods/edge_choice.h"
#include "methods/edge_trial.h"
#include "methods/memory_block.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::MemoryBlock;
using testing::relative_difference;
const GridSpec kInt4{.bits = 4, .symmetric = false, .group = 32};

std::vector<float> random_factor(std::int64_t channels, std::uint64_t seed) {
  const Random random(seed);
  std::vector<float> factor(channels);
  for (std::int64_t j = 0; j < channels; ++j) factor[j] = std::exp(random.normal(j));
  return factor;
}

struct Family {
  const char* name;
  Json (*config)();
  std::set<ScaleEdge::Kind> kinds;
};
using Kind = ScaleEdge::Kind;
const Family kFamilies[] = {{"llama", testing::tiny_llama, {Kind::norm, Kind::value, Kind::gated}},
                            {"qwen3", testing::tiny_qwen3, {Kind::norm, Kind::value, Kind::gated}},
                            {"opt", testing::tiny_opt, {Kind::norm, Kind::value, Kind::relu}},
                            {"mixtral", testing::tiny_mixtral, {Kind::norm, Kind::value, Kind::gated}}};

TEST(Fold, EveryEdgeKeepsTheFunction) {
  for (const Family& family : kFamilies) {
    MemoryBlock block(family.config(), kInt4);
    const Buffer before = block.output();
    std::set<Kind> kinds;
    std::uint64_t seed = 1;
    for (const ScaleEdge& edge : foldable_edges(block)) {
      const Buffer value = block.value(edge.value);
      const std::vector<float> factor = random_factor(edge.channels, seed++);
      VN_ASSERT_OK(fold_factor(block, edge, factor));
      EXPECT_LT(relative_difference(before, block.output()), 1e-4) << family.name << " " << edge.name;
      // The consumers' input really is divided, channel by channel.
      const Buffer scaled = block.value(edge.value);
      const std::vector<float> columns = factor_of_columns(edge, factor);
      ASSERT_EQ(scaled.rows, value.rows);
      Buffer divided = value;
      for (std::size_t i = 0; i < divided.data.size(); ++i) divided.data[i] /= columns[i % value.cols];
      EXPECT_LT(relative_difference(divided, scaled), 1e-4) << family.name << " " << edge.name;
      kinds.insert(edge.kind);
    }
    EXPECT_EQ(kinds, family.kinds) << family.name;
  }
}

TEST(Fold, RefusesFactorsThatAreNotPositive) {
  MemoryBlock block(testing::tiny_llama(), kInt4);
  const Buffer before = block.output();
  const ScaleEdge edge = foldable_edges(block)[0];
  for (const float bad :
       {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> factor(edge.channels, 1.0f);
    factor.back() = bad;
    const Status status = fold_factor(block, edge, factor);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find(edge.name), std::string::npos);
  }
  EXPECT_EQ(before.data, block.output().data);
}

TEST(Fold, ChannelsReduceOverTheHeadsThatShareThem) {
  MemoryBlock block(testing::tiny_llama(), kInt4);  // 6 query heads on 2 key heads of 16
  for (const ScaleEdge& edge : foldable_edges(block)) {
    if (edge.kind != Kind::value) continue;
    std::vector<float> columns(96);
    for (int c = 0; c < 96; ++c) columns[c] = static_cast<float>(c);
    const std::vector<float> most = channel_max(edge, columns), mean = channel_mean(edge, columns);
    ASSERT_EQ(most.size(), 32u);
    for (int j = 0; j < 32; ++j) {
      const int head = j / 16, i = j % 16;
      EXPECT_EQ(most[j], (head * 3 + 2) * 16 + i);
      EXPECT_EQ(mean[j], (head * 3 + 1) * 16 + i);
    }
  }
}

TEST(EdgeTrial, InspectsTheBranchOrTheLinearItself) {
  const auto inspected = [](MemoryBlock& block, Kind kind) {
    std::vector<std::string> names;
    for (const ScaleEdge& edge : foldable_edges(block))
      if (edge.kind == kind) names.push_back(block.graph().values[inspected_value(block.graph(), edge)].name);
    return names;
  };
  const auto ends = [](const std::string& name, std::string_view end) { return name.find(end) != std::string::npos; };
  MemoryBlock llama(testing::tiny_llama(), kInt4);
  EXPECT_TRUE(ends(inspected(llama, Kind::norm)[0], "o_proj"));
  EXPECT_TRUE(ends(inspected(llama, Kind::norm)[1], "down_proj"));
  EXPECT_TRUE(ends(inspected(llama, Kind::value)[0], "o_proj"));
  EXPECT_TRUE(ends(inspected(llama, Kind::gated)[0], "down_proj"));
  MemoryBlock opt(testing::tiny_opt(), kInt4);
  EXPECT_TRUE(ends(inspected(opt, Kind::norm)[1], "fc2"));
  MemoryBlock mixtral(testing::tiny_mixtral(), kInt4);
  EXPECT_TRUE(ends(inspected(mixtral, Kind::norm)[1], "combine"));
}

TEST(EdgeTrial, LossIsTheErrorOfTheFoldedBlock) {
  for (const Family& family : kFamilies) {
    MemoryBlock block(family.config(), kInt4);
    for (const ScaleEdge& edge : foldable_edges(block)) {
      Result<EdgeTrial> trial = EdgeTrial::make(block, edge, 1 << 20);
      VN_ASSERT_OK(trial);
      const std::vector<float> factor = random_factor(edge.channels, 3);
      const Result<double> predicted = trial->loss(factor);
      VN_ASSERT_OK(predicted);
      // After the fold the same loss is that of the identity.
      VN_ASSERT_OK(fold_factor(block, edge, factor));
      Result<EdgeTrial> after = EdgeTrial::make(block, edge, 1 << 20);
      VN_ASSERT_OK(after);
      const Result<double> measured = after->loss(std::vector<float>(edge.channels, 1.0f));
      VN_ASSERT_OK(measured);
      EXPECT_NEAR(*predicted, *measured, 0.02 * *measured) << family.name << " " << edge.name;
      EXPECT_GT(*measured, 0);
      EXPECT_GT(EdgeTrial::working_bytes(block.graph(), edge, 100), 0);
    }
  }
}

TEST(EdgeTrial, QuantizeDequantizeCoversGroupsTailsAndTensors) {
  const Random random(5);
  Tensor w(DType::f32, {3, 40});
  for (int i = 0; i < 120; ++i) w.as<float>()[i] = random.normal(i);
  const auto range = make_range({}).value();
  double last = 0;
  for (const std::int64_t group : {-1, 0, 32, 16}) {
    const auto grid = *make_grid({.bits = 4, .symmetric = true, .group = group});
    Tensor out(DType::f32, {3, 40});
    quantize_dequantize(std::as_const(w).matrix(), *grid, *range, out.matrix());
    std::set<float> levels;
    for (int i = 0; i < 120; ++i) {
      EXPECT_NEAR(out.as<float>()[i], w.as<float>()[i], 0.5) << group;
      levels.insert(out.as<float>()[i]);
    }
    if (group == -1) {
      EXPECT_LE(levels.size(), 16u);
    }
    EXPECT_GT(static_cast<double>(levels.size()), last);
    last = static_cast<double>(levels.size());
  }
}

TEST(EdgeChoice, NamesKinds) {
  EXPECT_EQ(edge_kinds("all")->size(), 4u);
  EXPECT_EQ(*edge_kinds("norm+relu"), (std::vector<Kind>{Kind::norm, Kind::relu}));
  for (const char* bad : {"", "+", "norm+", "nrom", "norm,gated"}) EXPECT_FALSE(edge_kinds(bad).ok()) << bad;
  MemoryBlock block(testing::tiny_llama(), kInt4);
  EXPECT_EQ(edges_of_kinds(block, {Kind::norm}).size(), 2u);
}

}  // namespace
}  // namespace vernier
