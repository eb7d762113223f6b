#include <gtest/gtest.h>

#include <algorithm>

#include "methods/fold.h"
#include "methods/memory_block.h"
#include "methods/percentile_smooth/smooth.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::MemoryBlock;
const GridSpec kInt4{.bits = 4, .symmetric = true, .group = 8};

std::unique_ptr<Transform> make(const std::vector<std::pair<std::string, std::string>>& given) {
  const MethodDescriptor* method = *find_method("percentile-smooth");
  return method->make_transform(*resolve_options(*method, given));
}

TEST(PercentileSmooth, CutsTheLargestChannelsToTheThreshold) {
  std::vector<float> amax(1000);
  for (int i = 0; i < 1000; ++i) amax[(i * 7) % 1000] = static_cast<float>(i + 1);
  EXPECT_EQ(percentile_smooth::threshold(amax, 0.005), 995);  // rank 6 of 1 .. 1000
  const std::vector<float> factor = percentile_smooth::smooth_factor(amax, 0.005);
  for (int i = 0; i < 1000; ++i) EXPECT_FLOAT_EQ(amax[i] / factor[i], std::min(amax[i], 995.0f));
  EXPECT_EQ(std::count_if(factor.begin(), factor.end(), [](float s) { return s > 1; }), 5);
}

TEST(PercentileSmooth, LeavesQuietAndShortInputsAlone) {
  for (const float s : percentile_smooth::smooth_factor(std::vector<float>{1e-5f, 5e-5f, 0}, 0.5)) EXPECT_EQ(s, 1);
  for (const float s : percentile_smooth::smooth_factor(std::vector<float>{3, 1, 2}, 0.005)) EXPECT_EQ(s, 1);
  EXPECT_TRUE(percentile_smooth::smooth_factor({}, 0.005).empty());
  EXPECT_EQ(percentile_smooth::threshold(std::vector<float>{3, 1, 2}, 0.99), 1);
}

TEST(PercentileSmooth, KeepsTheFunctionAndLowersThePeaks) {
  for (const auto& config :
       {testing::tiny_llama(), testing::tiny_qwen3(), testing::tiny_opt(), testing::tiny_mixtral()}) {
    MemoryBlock block(config, kInt4);
    const Buffer before = block.output();
    const ScaleEdge edge = foldable_edges(block).front();
    const auto peaks = [&] { return channel_max(edge, (*block.channel_stats(std::span(&edge.value, 1)))[0].absmax); };
    const std::vector<float> first = peaks();
    VN_ASSERT_OK(make({{"fraction", "0.2"}, {"edges", "all"}})->apply(block));
    EXPECT_LT(testing::relative_difference(before, block.output()), 1e-4) << config["model_type"];
    EXPECT_EQ(block.notes.size(), foldable_edges(block).size());
    const std::vector<float> then = peaks();
    const float t = percentile_smooth::threshold(first, 0.2);
    for (std::size_t j = 0; j < first.size(); ++j) EXPECT_NEAR(then[j], std::min(first[j], t), 1e-4f * t);
  }
}

TEST(PercentileSmooth, ChecksItsOptions) {
  const MethodDescriptor* method = *find_method("percentile-smooth");
  for (const char* fraction : {"-0.1", "1", "nan"})
    EXPECT_FALSE(resolve_options(*method, {{"fraction", fraction}}).ok()) << fraction;
  EXPECT_FALSE(resolve_options(*method, {{"edges", "up"}}).ok());
  EXPECT_FALSE(resolve_options(*method, {{"max_tokens", "0"}}).ok());
  EXPECT_TRUE(resolve_options(*method, {}).ok());
}

}  // namespace
}  // namespace vernier
