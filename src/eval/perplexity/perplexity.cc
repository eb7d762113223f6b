// exp of the mean negative log-likelihood of the text's tokens.
#include <cmath>

#include "eval/metric.h"

namespace vernier {
namespace {

class Perplexity final : public Metric {
 public:
  void add(std::span<const ScoredToken> tile) override {
    for (const ScoredToken& token : tile) {
      nll_ -= token.log_probability(token.target);
      if (!token.reference_logits.empty()) {
        reference_nll_ -= token.reference_log_probability(token.target);
        has_reference_ = true;
      }
    }
    tokens_ += static_cast<std::int64_t>(tile.size());
  }

  void write(Json& result) const override {
    const double count = static_cast<double>(tokens_);
    result["perplexity"] = std::exp(nll_ / count);
    if (has_reference_) result["reference_perplexity"] = std::exp(reference_nll_ / count);
  }

 private:
  double nll_ = 0, reference_nll_ = 0;
  std::int64_t tokens_ = 0;
  bool has_reference_ = false;
};

}  // namespace

namespace units {
extern const MetricDescriptor metric_perplexity;
const MetricDescriptor metric_perplexity = {
    .name = "perplexity",
    .summary = "exp of the mean negative log-likelihood per scored token",
    .needs_reference = false,
    .make = [] { return std::unique_ptr<Metric>(std::make_unique<Perplexity>()); },
};
}  // namespace units
}  // namespace vernier
