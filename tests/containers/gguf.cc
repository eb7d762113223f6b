// GGUF files made by an independent writer (tests/golden/make_gguf.py) as models.
#include <gtest/gtest.h>

#include "base/json.h"
#include "containers/container.h"
#include "containers/gguf/names.h"
#include "io/files.h"
#include "runtime/forward.h"
#include "support/support.h"

namespace vernier {
namespace {

using container_gguf::logical_names;
using container_gguf::stored_name;

std::string golden(const std::string& name) { return testing::source_dir() + "/tests/golden/gguf/" + name + ".gguf"; }

struct GgufCase {
  const char *file, *model;
  std::int64_t positions = 24;  // compared; qwen2's file cannot say that upper layers slide over 6
};

class GgufModel : public ::testing::TestWithParam<GgufCase> {};

// The logits that transformers computes from the checkpoint the file was made from: names, the order of q and k rows,
// expert stacks, positions and biases are right.
TEST_P(GgufModel, GivesTheGoldenLogits) {
  const auto source = open_model(golden(GetParam().file));
  VN_ASSERT_OK(source);
  EXPECT_EQ((*source)->container(), "gguf");
  const std::string path = testing::source_dir() + "/tests/golden/architectures/" + GetParam().model + "/expected.json";
  const Json expected = parse_json(read_text_file(path).value(), path).value();
  const auto ids = expected["ids"].get<std::vector<TokenId>>();
  auto forward = Forward::open(**source, false);
  VN_ASSERT_OK(forward);
  Batch batch = Batch::uniform(1, static_cast<std::int64_t>(ids.size()));
  batch.ids = ids;
  const auto hidden = (*forward)->hidden(batch);
  VN_ASSERT_OK(hidden);
  const auto logits = (*forward)->logits(*hidden);
  VN_ASSERT_OK(logits);
  for (std::int64_t t = 0; t < std::min(logits->rows, GetParam().positions); ++t)
    for (std::int64_t v = 0; v < logits->cols; ++v)
      ASSERT_NEAR(logits->data[t * logits->cols + v], expected["logits"][t][v].get<float>(), 1e-4) << t << " " << v;
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufModel,
                         ::testing::Values(GgufCase{"llama", "llama"},
                                           GgufCase{"llama-linear-00001-of-00003", "llama-linear"},
                                           GgufCase{"llama-llama3", "llama-llama3"},
                                           GgufCase{"llama-tied", "llama-tied"}, GgufCase{"mixtral", "mixtral"},
                                           GgufCase{"qwen2", "qwen2", 6}, GgufCase{"qwen3", "qwen3"}),
                         [](const auto& info) { return "case" + std::to_string(info.index); });

TEST(GgufNames, GoBothWays) {
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight",
                           "model.layers.11.self_attn.q_proj.bias", "model.layers.0.mlp.down_proj.weight",
                           "model.layers.3.block_sparse_moe.gate.weight", "model.layers.3.self_attn.k_norm.weight"}) {
    const auto stored = stored_name(name);
    ASSERT_TRUE(stored.has_value()) << name;
    const auto back = logical_names(stored->name, 0);
    ASSERT_EQ(back.size(), 1u) << stored->name;
    EXPECT_EQ(back[0].name, name);
  }
  const auto expert = stored_name("model.layers.3.block_sparse_moe.experts.5.w2.weight");
  ASSERT_TRUE(expert.has_value());
  EXPECT_EQ(expert->name, "blk.3.ffn_down_exps.weight");
  EXPECT_EQ(expert->expert, 5);
  const auto experts = logical_names(expert->name, 8);
  ASSERT_EQ(experts.size(), 8u);
  EXPECT_EQ(experts[5].name, "model.layers.3.block_sparse_moe.experts.5.w2.weight");
  const auto older = logical_names("blk.3.ffn_up.5.weight", 8);
  ASSERT_EQ(older.size(), 1u);
  EXPECT_EQ(older[0].name, "model.layers.3.block_sparse_moe.experts.5.w3.weight");
  for (const char* name : {"blk.weight", "blk.1.weight", "blk.x.attn_q.weight", "blk.1.attn_q", "rope_freqs.weight", "",
                           "blk.1.ffn_up..weight", "blk.1.ffn_up.5x.weight", "blk.99999999999999999999.attn_q.weight"})
    EXPECT_TRUE(logical_names(name, 8).empty()) << name;
}

TEST(GgufNames, RowsOfHeadsAreAPermutation) {
  const auto order = container_gguf::stored_rows(24, 3);
  EXPECT_EQ(std::vector<std::int32_t>(order.begin(), order.begin() + 8),
            (std::vector<std::int32_t>{0, 2, 4, 6, 1, 3, 5, 7}));
  EXPECT_EQ(order[8], 8);
  EXPECT_EQ(order[23], 23);
}

}  // namespace
}  // namespace vernier
