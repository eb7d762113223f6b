// What a quantized KV cache costs in perplexity, against one of half precision.
#include <gtest/gtest.h>

#include "eval/evaluate.h"
#include "eval/folder_source.h"
#include "io/text.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::bundled_model;
using testing::FolderSource;

double perplexity(const ModelSource& model, const Tokenizer& tokenizer, const std::string& text,
                  std::optional<kernels::KvType> kv) {
  const auto result = evaluate(model, nullptr, tokenizer, text, {.max_tokens = 4000, .kv = kv});
  EXPECT_TRUE(result.ok()) << result.error().text();
  return result.ok() ? result->figures["perplexity"].get<double>() : 0;
}

TEST(KvPerplexity, OfEveryType) {
  VN_NEEDS_SHARED();
  const auto model = FolderSource::open(bundled_model());
  VN_ASSERT_OK(model);
  const auto tokenizer = open_tokenizer(bundled_model());
  VN_ASSERT_OK(tokenizer);
  const auto text = read_text(testing::shared_dir() + "/text/books-valid.txt");
  VN_ASSERT_OK(text);
  const auto of = [&](std::optional<kernels::KvType> kv) { return perplexity(**model, **tokenizer, *text, kv); };
  const double half = of(kernels::KvType::f16);
  EXPECT_NEAR(of(kernels::KvType::f32) / of(std::nullopt), 1, 1e-5);
  EXPECT_NEAR(half / of(kernels::KvType::f32), 1, 1e-4);
  EXPECT_NEAR(of(kernels::KvType::int8) / half, 1, 0.002);
  EXPECT_NEAR(of(kernels::KvType::int4) / half, 1, 0.02);
}

}  // namespace
}  // namespace vernier
