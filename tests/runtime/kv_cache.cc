#include "runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <set>

#include "runtime/tiny_model.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

// 2 layers, 2 kv heads of 8 dims: a page is 32 tokens of both heads. Values are padded to 16 dims (int4: 32).
TEST(KvCache, StatesItsBytes) {
  const TinyModel model(llama_config());
  const ModelGraph& graph = model.graph();
  ASSERT_EQ(graph.kv_heads, 2);
  ASSERT_EQ(graph.head_dim, 8);
  const std::pair<KvType, int> per_head_and_token[] = {
      {KvType::f32, (8 + 16) * 4}, {KvType::f16, (8 + 16) * 2}, {KvType::int8, 8 + 16 + 4}, {KvType::int4, 4 + 16 + 8}};
  for (const auto& [type, bytes] : per_head_and_token) {
    EXPECT_EQ(KvCache::bytes_per_token(graph, type), 2 * 2 * bytes) << name(type);
    const KvCache cache(graph, 3, 33, type);
    EXPECT_EQ(cache.capacity(), 33);
    EXPECT_EQ(cache.pages(), 3 * 2);
    EXPECT_EQ(cache.bytes(), 2 * 6 * 32 * 2 * bytes);
    EXPECT_EQ(cache.bytes(), KvCache::bytes(graph, 3, 33, type));
  }
}

TEST(KvCache, TakesPagesOnDemandAndGivesThemBack) {
  const TinyModel model(llama_config());
  KvCache cache(model.graph(), 3, 200, KvType::f16, 128);
  EXPECT_EQ(cache.free_pages(), 4);
  VN_ASSERT_OK(cache.reserve(0, 1));
  VN_ASSERT_OK(cache.reserve(0, 32));
  EXPECT_EQ(cache.free_pages(), 3);
  VN_ASSERT_OK(cache.reserve(1, 64));
  VN_ASSERT_OK(cache.reserve(0, 33));
  EXPECT_EQ(cache.free_pages(), 0);
  std::set<std::int32_t> held;
  for (int slot : {0, 1}) held.insert(cache.view(0, slot).table.begin(), cache.view(0, slot).table.end());
  EXPECT_EQ(held.size(), 4u);

  const Status none_left = cache.reserve(2, 1);
  ASSERT_FALSE(none_left.ok());
  EXPECT_EQ(none_left.error().code, ErrorCode::over_budget);
  EXPECT_FALSE(cache.reserve(1, 65).ok());
  EXPECT_EQ(cache.view(0, 1).table.size(), 2u);

  cache.reset(1);
  EXPECT_EQ(cache.free_pages(), 2);
  VN_EXPECT_OK(cache.reserve(2, 64));
}

}  // namespace
}  // namespace vernier::testing
