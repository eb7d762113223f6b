// KL(reference || model) per scored token over the full vocabulary, and how often both prefer the same token.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/threads.h"
#include "eval/kl/quantile.h"
#include "eval/metric.h"

namespace vernier {
namespace {

// sum_i p_i (log p_i - log q_i) with p the reference: the logit difference under p, minus the difference of
// normalizers. Rounding can take a divergence of zero just below it.
double divergence(const ScoredToken& token) {
  double mean_difference = 0;
  for (std::size_t i = 0; i < token.logits.size(); ++i) {
    const double difference = static_cast<double>(token.reference_logits[i]) - token.logits[i];
    mean_difference += std::exp(token.reference_log_probability(static_cast<std::int64_t>(i))) * difference;
  }
  const double kl = mean_difference - (token.reference_log_normalizer - token.log_normalizer);
  return std::isnan(kl) ? kl : std::max(kl, 0.0);
}

std::size_t argmax(std::span<const float> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

class Kl final : public Metric {
 public:
  void add(std::span<const ScoredToken> tile) override {
    const std::size_t first = divergences_.size();
    divergences_.resize(first + tile.size());
    std::vector<double> exact(tile.size());
    std::vector<char> agrees(tile.size());
    parallel_for(static_cast<std::int64_t>(tile.size()), [&](std::int64_t i) {
      exact[i] = divergence(tile[i]);
      divergences_[first + i] = static_cast<float>(exact[i]);
      agrees[i] = argmax(tile[i].logits) == argmax(tile[i].reference_logits);
    });
    for (std::size_t i = 0; i < tile.size(); ++i) {
      sum_ += exact[i];
      agreements_ += agrees[i];
    }
  }

  void write(Json& result) const override {
    const double count = static_cast<double>(divergences_.size());
    std::vector<float> values = divergences_;
    result["kl_mean"] = sum_ / count;
    result["kl_median"] = quantile(values, 0.5);
    result["kl_p99"] = quantile(values, 0.99);
    result["top1_agreement"] = static_cast<double>(agreements_) / count;
  }

 private:
  std::vector<float> divergences_;  // one per scored token, for the quantiles
  double sum_ = 0;
  std::int64_t agreements_ = 0;
};

}  // namespace

namespace units {
extern const MetricDescriptor metric_kl;
const MetricDescriptor metric_kl = {
    .name = "kl",
    .summary = "KL(reference || model) per scored token: mean, median, 99 % quantile; top-1 agreement",
    .needs_reference = true,
    .make = [] { return std::unique_ptr<Metric>(std::make_unique<Kl>()); },
};
}  // namespace units
}  // namespace vernier
