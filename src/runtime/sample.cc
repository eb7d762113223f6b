#include "runtime/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/fail.h"
#include "base/random.h"

namespace vernier {
namespace {

TokenId greedy(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best] || std::isnan(logits[best])) best = i;
  }
  return static_cast<TokenId>(best);
}

struct Candidate {
  TokenId id;
  double weight;  // not normalised
};

bool likelier(const Candidate& a, const Candidate& b) {
  return a.weight > b.weight || (a.weight == b.weight && a.id < b.id);
}

double total(const std::vector<Candidate>& candidates) {
  return std::accumulate(candidates.begin(), candidates.end(), 0.0,
                         [](double sum, const Candidate& c) { return sum + c.weight; });
}

// Keskar et al. 2019, as transformers has it: away from 0 for negative logits. Each token once, however often seen.
std::vector<float> penalized(std::span<const float> logits, float penalty, std::span<const TokenId> seen) {
  std::vector<float> out(logits.begin(), logits.end());
  for (TokenId id : seen) {
    const float logit = logits[id];
    out[id] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return out;
}

}  // namespace

Status validate(const SamplerOptions& options) {
  const auto check = [](const char* option, float value, float low, float high) -> Status {
    if (value >= low && value <= high) return {};
    return fail(ErrorCode::invalid, "{} must be from {} to {}, found {}", option, low, high, value);
  };
  VN_TRY(check("temperature", options.temperature, 0, 100));
  VN_TRY(check("top-p", options.top_p, 0, 1));
  VN_TRY(check("min-p", options.min_p, 0, 1));
  VN_TRY(check("repetition penalty", options.repetition_penalty, 0.01f, 100));
  if (options.top_k < 0) return fail(ErrorCode::invalid, "top-k must not be negative, found {}", options.top_k);
  return {};
}

TokenId sample(std::span<const float> logits, const SamplerOptions& options, std::uint64_t step,
               std::span<const TokenId> seen) {
  std::vector<float> changed;
  if (options.repetition_penalty != 1 && !seen.empty()) {
    changed = penalized(logits, options.repetition_penalty, seen);
    logits = changed;
  }
  const TokenId best = greedy(logits);
  if (!(options.temperature > 0) || !std::isfinite(logits[best])) return best;

  std::vector<Candidate> candidates;  // in order of id while nothing is cut off
  candidates.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp((static_cast<double>(logits[i]) - logits[best]) / options.temperature);
    if (weight > 0) candidates.push_back({static_cast<TokenId>(i), weight});
  }
  const auto count = static_cast<std::ptrdiff_t>(candidates.size());
  if (options.top_k > 0 && options.top_k < count) {
    std::partial_sort(candidates.begin(), candidates.begin() + options.top_k, candidates.end(), likelier);
    candidates.resize(options.top_k);
  }
  if (options.top_p < 1) {  // the smallest set of likeliest tokens with at least that share
    std::sort(candidates.begin(), candidates.end(), likelier);
    const double wanted = options.top_p * total(candidates);
    double sum = 0;
    std::size_t kept = 0;
    do sum += candidates[kept++].weight;
    while (kept < candidates.size() && sum < wanted);
    candidates.resize(kept);
  }
  if (options.min_p > 0) {  // weights are relative to the likeliest token, which every cut keeps
    std::erase_if(candidates, [&](const Candidate& c) { return c.weight < options.min_p; });
  }
  double left = Random(options.seed).uniform(step) * total(candidates);
  for (const Candidate& candidate : candidates) {
    left -= candidate.weight;
    if (left < 0) return candidate.id;
  }
  return candidates.back().id;
}

}  // namespace vernier
