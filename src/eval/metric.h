// What a metric registers (src/eval/UNITS): a running figure over scored tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/json.h"

namespace vernier {

// One scored token: logits over the vocabulary of the model and, where there is one, the reference. Probabilities are
// exp(logit - log_normalizer); the normalizer is kept apart in double, so that two models that agree to the last bits
// of their logits also agree in KL.
struct ScoredToken {
  std::span<const float> logits;            // [vocab]
  double log_normalizer = 0;                // log of the sum of exp(logits)
  std::span<const float> reference_logits;  // [vocab] or empty
  double reference_log_normalizer = 0;
  std::int64_t target = 0;  // the token that came

  double log_probability(std::int64_t id) const { return logits[id] - log_normalizer; }
  double reference_log_probability(std::int64_t id) const { return reference_logits[id] - reference_log_normalizer; }
};

class Metric {
 public:
  virtual ~Metric() = default;
  // Tokens in the order of the text. Called by one thread; may use parallel_for over the tile.
  virtual void add(std::span<const ScoredToken> tile) = 0;
  virtual void write(Json& result) const = 0;  // its keys: "perplexity", "kl_mean", ...
};

struct MetricDescriptor {
  std::string_view name;     // "kl"
  std::string_view summary;  // one line for `vernier list metrics`
  bool needs_reference = false;
  std::unique_ptr<Metric> (*make)() = nullptr;
};

std::span<const MetricDescriptor* const> metrics();

}  // namespace vernier
