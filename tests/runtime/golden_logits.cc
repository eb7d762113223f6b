// Logits of every architecture against those of independent implementations: by the reference interpreter, which shows
// that the descriptions in arch/ are right, and by the executor on kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/generate.h"
#include "runtime/golden_models.h"
#include "runtime/reference_executor.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

constexpr float kTolerance = 1e-4f;

struct Runner {
  const char* name;
  Result<Buffer> (*logits)(const ModelSource& source, std::span<const TokenId> ids);
};

Result<Buffer> core_logits(const ModelSource& source, std::span<const TokenId> ids) {
  VN_ASSIGN(const auto forward, Forward::open(source, false));
  Batch batch = Batch::uniform(1, static_cast<std::int64_t>(ids.size()));
  batch.ids = ids;
  VN_ASSIGN(const Buffer hidden, forward->hidden(batch));
  return forward->logits(hidden);
}

constexpr Runner kRunners[] = {{"reference", reference_logits}, {"core", core_logits}};

std::span<const float> row(const Buffer& b, std::int64_t r) {
  return {b.data.data() + r * b.cols, std::size_t(b.cols)};
}

float distance(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float most = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

std::string printable(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class GoldenLogits : public ::testing::TestWithParam<std::tuple<std::string, Runner>> {};

TEST_P(GoldenLogits, EveryPositionMatches) {
  const auto& [name, runner] = GetParam();
  const GoldenCase golden = load_golden_case(name);
  const auto source = open_checkpoint_source(golden.folder);
  VN_ASSERT_OK(source);
  const auto logits = runner.logits(**source, golden.ids);
  VN_ASSERT_OK(logits);
  ASSERT_EQ(logits->rows, static_cast<std::int64_t>(golden.ids.size()));
  for (std::int64_t t = 0; t < logits->rows; ++t)
    EXPECT_LE(distance(row(*logits, t), golden.logits[t]), kTolerance) << "position " << t;
}

TEST_P(GoldenLogits, ConfigKeysMatter) {
  const auto& [name, runner] = GetParam();
  const GoldenCase golden = load_golden_case(name);
  for (const GoldenCase::Toggle& toggle : golden.toggles) {
    SCOPED_TRACE(toggle.set.dump());
    const auto source = open_checkpoint_source(golden.folder, toggle.set);
    VN_ASSERT_OK(source);
    const auto logits = runner.logits(**source, golden.ids);
    VN_ASSERT_OK(logits);
    const auto last = row(*logits, logits->rows - 1);
    EXPECT_LE(distance(last, toggle.logits_last), kTolerance);
    EXPECT_EQ(distance(last, golden.logits.back()) > 10 * kTolerance, toggle.changes);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, GoldenLogits,
                         ::testing::Combine(::testing::ValuesIn(golden_case_names()), ::testing::ValuesIn(kRunners)),
                         [](const auto& info) {
                           return printable(std::get<0>(info.param)) + "_" + std::get<1>(info.param).name;
                         });

std::vector<TokenId> top5(std::span<const float> logits) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + 5, order.end(),
                    [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  order.resize(5);
  return order;
}

std::string model_folder(const std::string& name) {
  return name == "books-6m" ? bundled_model() : shared_dir() + "/models/" + name;
}

class ReferenceModel : public ::testing::TestWithParam<std::string> {};

TEST_P(ReferenceModel, LogitsMatch) {
  VN_NEEDS_SHARED();
  const GoldenModel golden = load_golden_model(GetParam());
  const auto source = open_checkpoint_source(model_folder(GetParam()));
  VN_ASSERT_OK(source);
  for (const Runner& runner : kRunners) {
    SCOPED_TRACE(runner.name);
    const auto logits = runner.logits(**source, golden.ids);
    VN_ASSERT_OK(logits);
    EXPECT_LE(distance(row(*logits, logits->rows - 1), golden.logits_last), kTolerance);
    for (std::int64_t t = 0; t < logits->rows; ++t)
      EXPECT_EQ(top5(row(*logits, t)), golden.top5_each_position[t]) << "position " << t;
  }
}

TEST_P(ReferenceModel, GreedyContinuationMatches) {
  VN_NEEDS_SHARED();
  const GoldenModel golden = load_golden_model(GetParam());
  const auto source = open_checkpoint_source(model_folder(GetParam()));
  VN_ASSERT_OK(source);
  const auto forward = Forward::open(**source, false);
  VN_ASSERT_OK(forward);
  const GenerateOptions options{.max_tokens = static_cast<std::int64_t>(golden.greedy_continuation.size())};
  const auto tokens = generate(**forward, golden.ids, options);
  VN_ASSERT_OK(tokens);
  EXPECT_EQ(*tokens, golden.greedy_continuation);
}

INSTANTIATE_TEST_SUITE_P(Shared, ReferenceModel, ::testing::Values("stories260k", "books-6m"),
                         [](const auto& info) { return printable(info.param); });

}  // namespace
}  // namespace vernier::testing
