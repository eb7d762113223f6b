#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "base/threads.h"
#include "methods/awq/clip.h"
#include "methods/awq/scale.h"
#include "methods/edge_trial.h"
#include "methods/fold.h"
#include "methods/memory_block.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::MemoryBlock;
using testing::relative_difference;
const GridSpec kInt3{.bits = 3, .symmetric = false, .group = 16};

std::unique_ptr<Transform> make_awq(const std::vector<std::pair<std::string, std::string>>& given = {}) {
  const MethodDescriptor* awq = *find_method("awq");
  return awq->make_transform(*resolve_options(*awq, given));
}

Tensor random_tensor(Shape shape, std::uint64_t seed) {
  const Random random(seed);
  Tensor tensor(DType::f32, std::move(shape));
  for (std::size_t i = 0; i < tensor.as<float>().size(); ++i) tensor.as<float>()[i] = random.normal(i);
  return tensor;
}

TEST(AwqScale, CandidatesAreNormalizedPowers) {
  const std::vector<float> m{0.5f, 2.0f, 8.0f, 0.0f}, u{0.1f, 0.2f, 0.4f, 0.0f};
  for (const float s : awq::candidate(std::span(m).first(3), {}, 0)) EXPECT_FLOAT_EQ(s, 1);
  const std::vector<float> half = awq::candidate(std::span(m).first(3), {}, 0.5);
  EXPECT_NEAR(half[1] / half[0], 2, 1e-5);  // (2 / 0.5)^0.5
  EXPECT_NEAR(half[0] * half[2], 1, 1e-5);  // least times most
  const std::vector<float> duo = awq::candidate(std::span(m).first(3), std::span(u).first(3), 0.5);
  EXPECT_NEAR(duo[1] / duo[0], 2 / std::sqrt(2), 1e-5);
  for (const double ratio : {0.0, 0.3, 0.95})  // dead channels
    for (const auto& s : {awq::candidate(m, {}, ratio), awq::candidate(m, u, ratio)})
      for (const float v : s) EXPECT_TRUE(std::isfinite(v) && v > 0) << ratio;
}

TEST(AwqScale, SearchNeverLosesToIdentity) {
  for (const auto& config : {testing::tiny_llama(), testing::tiny_opt(), testing::tiny_mixtral()}) {
    MemoryBlock block(config, kInt3);
    bool better = false;
    for (const ScaleEdge& edge : foldable_edges(block)) {
      const std::vector<ChannelStats> stats = *block.channel_stats(std::span(&edge.value, 1));
      const Result<awq::ScaleChoice> choice = awq::search_scale(block, edge, stats[0].mean_abs, {.grid = 8});
      VN_ASSERT_OK(choice);
      EXPECT_LE(choice->loss, choice->identity_loss) << edge.name;
      better |= choice->loss < 0.9 * choice->identity_loss;
      Result<EdgeTrial> trial = EdgeTrial::make(block, edge, 4096);
      EXPECT_DOUBLE_EQ(*trial->loss(choice->factor), choice->loss) << edge.name;
    }
    EXPECT_TRUE(better) << config["model_type"];
  }
}

TEST(AwqScale, NormalizedWeightIsMeanShareOfTheGroupMaximum) {
  MemoryBlock block(testing::tiny_llama(), {.bits = 4, .symmetric = true, .group = 0});
  for (const ScaleEdge& edge : foldable_edges(block)) {
    if (edge.kind != ScaleEdge::Kind::gated) continue;
    Tensor& w = **block.master(block.graph().ops[edge.consumers[0]].weight);
    for (std::int64_t r = 0; r < w.matrix().rows; ++r)
      for (std::int64_t c = 0; c < w.matrix().cols; ++c) w.matrix()(r, c) = c == 3 ? -2.0f : 0.5f;
    const std::vector<float> u = *awq::normalized_weight(block, edge);
    for (std::size_t c = 0; c < u.size(); ++c) EXPECT_FLOAT_EQ(u[c], c == 3 ? 1.0f : 0.25f);
  }
}

TEST(AwqClip, ErrorNeverExceedsTheUnclippedAndIsReal) {
  const Tensor x = random_tensor({200, 80}, 2);  // a tail group of 16
  const auto range = make_range({}).value();
  for (const bool symmetric : {true, false}) {
    const auto grid = *make_grid({.bits = 3, .symmetric = symmetric, .group = 32});
    Tensor original = random_tensor({24, 80}, 1);
    for (std::int64_t r = 0; r < 24; ++r) original.matrix()(r, r) *= 6;  // outliers that clipping should cut
    Tensor clipped(DType::f32, {24, 80});
    std::ranges::copy(original.as<float>(), clipped.as<float>().begin());
    const awq::ClipReport report = awq::clip_weight(clipped.matrix(), x.matrix(), *grid, *range, {});
    EXPECT_EQ(report.groups, 24 * 3);
    EXPECT_GT(report.clipped, 0);
    EXPECT_LT(report.error, report.unclipped_error);

    const auto group_error = [&](const Tensor& w, std::int64_t row, std::int64_t begin) {
      const std::int64_t n = std::min<std::int64_t>(32, 80 - begin);
      Tensor q(DType::f32, {24, 80});
      quantize_dequantize(w.matrix(), *grid, *range, q.matrix());
      double sum = 0;
      for (std::int64_t t = 0; t < 200; ++t) {
        double partial = 0;
        for (std::int64_t c = begin; c < begin + n; ++c)
          partial += (q.matrix()(row, c) - original.matrix()(row, c)) * x.matrix()(t, c);
        sum += partial * partial;
      }
      return sum / 200;
    };
    double before = 0, after = 0;
    for (std::int64_t row = 0; row < 24; ++row)
      for (const std::int64_t begin : {0, 32, 64}) {
        const double plain = group_error(original, row, begin), cut = group_error(clipped, row, begin);
        EXPECT_LE(cut, plain * (1 + 1e-4)) << row << " " << begin;
        before += plain;
        after += cut;
      }
    EXPECT_NEAR(report.unclipped_error, before, 1e-3 * before);
    EXPECT_NEAR(report.error, after, 1e-3 * after);
  }
}

TEST(AwqClip, WideGroupsUseTokensAndTensorGridsAreLeftAlone) {
  const Tensor x = random_tensor({64, 700}, 3);
  Tensor w = random_tensor({8, 700}, 4);
  const std::vector<float> before(w.as<float>().begin(), w.as<float>().end());
  const auto range = make_range({}).value();
  const auto tensor_grid = *make_grid({.bits = 3, .symmetric = true, .group = -1});
  EXPECT_EQ(awq::clip_weight(w.matrix(), x.matrix(), *tensor_grid, *range, {}).groups, 0);
  EXPECT_TRUE(std::ranges::equal(before, w.as<float>()));
  const auto row_grid = *make_grid({.bits = 3, .symmetric = true, .group = 0});
  const awq::ClipReport report = awq::clip_weight(w.matrix(), x.matrix(), *row_grid, *range, {});
  EXPECT_EQ(report.groups, 8);
  EXPECT_LT(report.error, report.unclipped_error);
}

TEST(AwqClip, KnowsWhatFeedsScores) {
  for (const auto& config : {testing::tiny_llama(), testing::tiny_qwen3(), testing::tiny_opt()}) {
    MemoryBlock block(config, kInt3);
    EXPECT_TRUE(awq::feeds_scores(block.graph(), block.op("q_proj")));
    EXPECT_TRUE(awq::feeds_scores(block.graph(), block.op("k_proj")));
    EXPECT_FALSE(awq::feeds_scores(block.graph(), block.op("v_proj")));
  }
}

TEST(Awq, WithoutClipTheFunctionStays) {
  for (const auto& config :
       {testing::tiny_llama(), testing::tiny_qwen3(), testing::tiny_opt(), testing::tiny_mixtral()}) {
    MemoryBlock block(config, kInt3);
    const Buffer before = block.output();
    VN_ASSERT_OK(make_awq({{"clip", "false"}, {"grid", "6"}})->apply(block));
    EXPECT_LT(relative_difference(before, block.output()), 1e-4) << config["model_type"];
    EXPECT_EQ(block.notes.size(), foldable_edges(block).size());
  }
}

TEST(Awq, LowersTheErrorOfTheQuantizedBlock) {
  for (const auto& config : {testing::tiny_llama(), testing::tiny_opt()}) {
    MemoryBlock plain(config, kInt3), transformed(config, kInt3);
    const double before = plain.quantized_error();
    VN_ASSERT_OK(make_awq({{"clip", "false"}})->apply(transformed));
    EXPECT_LT(transformed.quantized_error(), before) << config["model_type"];
  }
}

TEST(Awq, SameBytesAtAnyThreadCount) {
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    MemoryBlock block(testing::tiny_llama(), kInt3);
    VN_ASSERT_OK(make_awq({{"grid", "6"}})->apply(block));
    std::vector<float>& all = results.emplace_back();
    for (std::size_t t = 0; t < block.graph().tensors.size(); ++t)
      for (const float v : (*block.master(static_cast<TensorId>(t)))->as<float>()) all.push_back(v);
  }
  set_thread_count(0);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(Awq, RefusesOptionsOutOfRange) {
  const MethodDescriptor* awq = *find_method("awq");
  using Given = std::vector<std::pair<std::string, std::string>>;
  for (const Given& given : {Given{{"grid", "0"}}, Given{{"max_shrink", "1"}}, Given{{"max_shrink", "nan"}},
                             Given{{"max_tokens", "0"}}, Given{{"edges", "some"}}, Given{{"scales", "other"}}})
    EXPECT_FALSE(resolve_options(*awq, given).ok()) << given[0].first;
  MemoryBlock block(testing::tiny_llama(), kInt3);
  EXPECT_GT(make_awq()->working_bytes(block.graph(), 1000), make_awq()->working_bytes(block.graph(), 10));
}

}  // namespace
}  // namespace vernier
