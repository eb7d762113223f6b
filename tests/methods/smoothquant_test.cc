#include <algorithm>
#include <cmath>

#include "methods/fold.h"
#include "methods/memory_block.h"
#include "methods/smoothquant/smooth.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::MemoryBlock;
using testing::relative_difference;
const GridSpec kInt8{.bits = 8, .symmetric = true, .group = 0};
const ActivationSpec kDynamic{.bits = 8, .symmetric = true, .dynamic = true, .per_token = true};

std::unique_ptr<Transform> make_smoothquant(const std::vector<std::pair<std::string, std::string>>& given = {}) {
  const MethodDescriptor* method = *find_method("smoothquant");
  return method->make_transform(*resolve_options(*method, given));
}

std::vector<float> input_maxima(MemoryBlock& block, const ScaleEdge& edge) {
  return channel_max(edge, (*block.channel_stats(std::span(&edge.value, 1)))[0].absmax);
}

TEST(SmoothQuant, AlphaOneEqualizesInputsAlphaZeroWeights) {
  for (const auto& config : {testing::tiny_llama(), testing::tiny_opt(), testing::tiny_mixtral()}) {
    MemoryBlock ones(config, kInt8), zeros(config, kInt8);
    VN_ASSERT_OK(make_smoothquant({{"alpha", "1"}, {"edges", "norm"}})->apply(ones));
    VN_ASSERT_OK(make_smoothquant({{"alpha", "0"}, {"edges", "norm"}})->apply(zeros));
    for (const ScaleEdge& edge : foldable_edges(ones)) {
      if (edge.kind != ScaleEdge::Kind::norm) continue;
      for (const float m : input_maxima(ones, edge)) EXPECT_NEAR(m, 1, 1e-4) << edge.name;
      const std::vector<float> columns = smoothquant::weight_maxima(zeros, edge).value();
      for (const float m : columns) EXPECT_NEAR(m, 1, 1e-4) << edge.name;
    }
  }
}

TEST(SmoothQuant, KeepsTheFunction) {
  for (const auto& config :
       {testing::tiny_llama(), testing::tiny_qwen3(), testing::tiny_opt(), testing::tiny_mixtral()})
    for (const char* edges : {"norm", "all"}) {
      MemoryBlock block(config, kInt8);
      const Buffer before = block.output();
      VN_ASSERT_OK(make_smoothquant({{"alpha", "0.5"}, {"edges", edges}})->apply(block));
      EXPECT_LT(relative_difference(before, block.output()), 1e-4) << config["model_type"] << " " << edges;
    }
}

TEST(SmoothQuant, DeadChannelsAndColumnsAreSafe) {
  const std::vector<float> factor =
      smoothquant::smooth_factor(std::vector<float>{0, 1e-30f, 4, 1e30f}, std::vector<float>{1, 0, 1, 1e-30f}, 0.5);
  for (const float s : factor) EXPECT_TRUE(std::isfinite(s) && s > 0) << s;
  EXPECT_EQ(factor[0], 1);
  EXPECT_FLOAT_EQ(factor[2], 2);
}

TEST(SmoothQuant, SearchLowersTheErrorOfTheQuantizedBlock) {
  for (const bool dynamic : {true, false}) {
    MemoryBlock plain(testing::tiny_opt(), kInt8), searched(testing::tiny_opt(), kInt8);
    plain.activations = searched.activations = kDynamic;
    const double before = plain.quantized_error();
    if (!dynamic) searched.activations->dynamic = searched.activations->per_token = false;
    VN_ASSERT_OK(make_smoothquant()->apply(searched));
    EXPECT_EQ(searched.notes.size(), foldable_edges(searched).size());
    searched.activations = kDynamic;
    EXPECT_LT(searched.quantized_error(), before);
  }
}

TEST(SmoothQuant, RefusesOptionsOutOfRange) {
  const MethodDescriptor* method = *find_method("smoothquant");
  for (const char* alpha : {"-0.1", "1.1", "nan", "half", "", "0.5x"})
    EXPECT_FALSE(resolve_options(*method, {{"alpha", alpha}}).ok()) << alpha;
  EXPECT_TRUE(resolve_options(*method, {{"alpha", "search"}}).ok());
}

}  // namespace
}  // namespace vernier
