#include <cmath>
#include <map>

#include "eval/kl/quantile.h"
#include "eval/metric.h"
#include "eval/scorer.h"
#include "support/support.h"

namespace vernier {
namespace {

std::unique_ptr<Metric> metric(std::string_view name) {
  for (const MetricDescriptor* descriptor : metrics()) {
    if (descriptor->name == name) return descriptor->make();
  }
  return nullptr;
}

ScoredToken token(const std::vector<float>& logits, const std::vector<float>& reference, std::int64_t target) {
  ScoredToken out;
  out.logits = logits;
  out.log_normalizer = log_normalizer(logits);
  out.reference_logits = reference;
  out.reference_log_normalizer = reference.empty() ? 0 : log_normalizer(reference);
  out.target = target;
  return out;
}

// The textbook formula in double.
double kl(const std::vector<float>& p_logits, const std::vector<float>& q_logits) {
  double p_sum = 0, q_sum = 0, sum = 0;
  for (std::size_t i = 0; i < p_logits.size(); ++i) {
    p_sum += std::exp(static_cast<double>(p_logits[i]));
    q_sum += std::exp(static_cast<double>(q_logits[i]));
  }
  for (std::size_t i = 0; i < p_logits.size(); ++i) {
    const double p = std::exp(static_cast<double>(p_logits[i])) / p_sum;
    sum += p * (std::log(p) - (q_logits[i] - std::log(q_sum)));
  }
  return sum;
}

TEST(Quantile, InterpolatesBetweenOrderStatistics) {
  std::vector<float> values{4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_NEAR(quantile(values, 0.99), 3.97, 1e-12);
  std::vector<float> one{7};
  EXPECT_DOUBLE_EQ(quantile(one, 0.99), 7);
  std::vector<float> none;
  EXPECT_TRUE(std::isnan(quantile(none, 0.5)));
}

TEST(LogNormalizer, SurvivesLargeLogits) {
  EXPECT_NEAR(log_normalizer(std::vector<float>{1000, 1000}), 1000 + std::log(2.0), 1e-9);
  EXPECT_NEAR(log_normalizer(std::vector<float>{-1000, -1000, -1000}), -1000 + std::log(3.0), 1e-9);
}

TEST(Perplexity, OfUniformLogitsIsTheVocabulary) {
  const std::vector<float> logits(7, 0.25f);
  const auto perplexity = metric("perplexity");
  const std::vector<ScoredToken> tile{token(logits, {}, 3), token(logits, {}, 0)};
  perplexity->add(tile);
  Json json;
  perplexity->write(json);
  EXPECT_NEAR(json["perplexity"].get<double>(), 7, 1e-6);
  EXPECT_FALSE(json.contains("reference_perplexity"));
}

TEST(Kl, MatchesTheFormulaAndItsOrderMatters) {
  const std::vector<float> p{1, 2, 0.5f, -1}, q{0.5f, 1, 2, 0};
  ASSERT_GT(std::abs(kl(p, q) - kl(q, p)), 1e-3);
  const auto running = metric("kl");
  const std::vector<ScoredToken> tile{token(q, p, 0)};
  running->add(tile);
  Json json;
  running->write(json);
  EXPECT_NEAR(json["kl_mean"].get<double>(), kl(p, q), 1e-6);
  EXPECT_NEAR(json["kl_median"].get<double>(), kl(p, q), 1e-6);
  EXPECT_EQ(json["top1_agreement"].get<double>(), 0);
}

TEST(Kl, OfEqualAndShiftedLogitsIsZero) {
  const std::vector<float> p{3, -2, 8, 1};
  std::vector<float> shifted = p;
  for (float& value : shifted) value += 4;
  const auto running = metric("kl");
  const std::vector<ScoredToken> tile{token(p, p, 0), token(shifted, p, 0)};
  running->add(tile);
  Json json;
  running->write(json);
  EXPECT_NEAR(json["kl_mean"].get<double>(), 0, 1e-12);
  EXPECT_EQ(json["top1_agreement"].get<double>(), 1);
}

TEST(Kl, ManyTilesEqualOne) {
  std::vector<std::vector<float>> logits;
  for (int i = 0; i < 9; ++i) logits.push_back({0.1f * i, 1.0f - 0.2f * i, 0.3f * (i % 4)});
  std::vector<ScoredToken> all;
  for (int i = 0; i < 8; ++i) all.push_back(token(logits[i], logits[i + 1], 0));
  const auto once = metric("kl"), often = metric("kl");
  once->add(all);
  for (const ScoredToken& one : all) often->add({&one, 1});
  Json a, b;
  once->write(a);
  often->write(b);
  EXPECT_EQ(a.dump(), b.dump());
}

}  // namespace
}  // namespace vernier
