#include "methods/awq/scale.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "methods/edge_trial.h"
#include "methods/fold.h"

namespace vernier::awq {
namespace {

constexpr double kFloor = 1e-4;

struct Rule {
  const char* name;
  std::span<const float> u;  // empty: activations alone
};

}  // namespace

std::vector<float> candidate(std::span<const float> m, std::span<const float> u, double ratio) {
  std::vector<double> s(m.size());
  for (std::size_t j = 0; j < m.size(); ++j) {
    s[j] = std::max(std::pow(static_cast<double>(m[j]), ratio), kFloor);
    if (!u.empty()) s[j] /= std::max(std::pow(static_cast<double>(u[j]), 1 - ratio), kFloor);
  }
  const auto [least, most] = std::minmax_element(s.begin(), s.end());
  const double middle = s.empty() ? 1 : std::sqrt(*least * *most);
  std::vector<float> factor(m.size());
  std::transform(s.begin(), s.end(), factor.begin(), [&](double v) { return static_cast<float>(v / middle); });
  return factor;
}

Result<std::vector<float>> normalized_weight(BlockContext& block, const ScaleEdge& edge) {
  std::vector<double> sum(edge.producer_channel.size(), 0.0);
  std::int64_t rows = 0;
  for (const int op : edge.consumers) {
    const auto grid = block.grid(op);
    if (!grid) continue;
    VN_ASSIGN(Tensor * master, block.master(block.graph().ops[op].weight));
    const Matrix<const float> w = std::as_const(*master).matrix();
    const std::int64_t group = grid->group_columns(w.cols);
    rows += w.rows;
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t begin = 0; begin < w.cols; begin += group) {
        const std::int64_t end = std::min(begin + group, w.cols);
        float most = 0;
        for (std::int64_t c = begin; c < end; ++c) most = std::max(most, std::abs(w(r, c)));
        if (most == 0) continue;
        for (std::int64_t c = begin; c < end; ++c) sum[c] += std::abs(w(r, c)) / most;
      }
  }
  std::vector<float> mean(sum.size(), 1.0f);
  if (rows > 0)
    std::transform(sum.begin(), sum.end(), mean.begin(), [&](double v) { return static_cast<float>(v / rows); });
  return channel_mean(edge, mean);
}

Result<ScaleChoice> search_scale(BlockContext& block, const ScaleEdge& edge, std::span<const float> mean_abs,
                                 const ScaleOptions& options) {
  const std::vector<float> m = channel_mean(edge, mean_abs);
  VN_ASSIGN(const std::vector<float> u, normalized_weight(block, edge));
  VN_ASSIGN(EdgeTrial trial, EdgeTrial::make(block, edge, options.max_tokens));

  ScaleChoice best{std::vector<float>(edge.channels, 1.0f), "identity"};
  VN_ASSIGN(best.identity_loss, trial.loss(best.factor));
  best.loss = best.identity_loss;
  std::vector<Rule> rules;
  if (options.activation) rules.push_back({"activation", {}});
  if (options.duo) rules.push_back({"duo", u});
  for (const Rule& rule : rules) {
    for (int n = 0; n < options.grid; ++n) {
      const double ratio = static_cast<double>(n) / options.grid;
      std::vector<float> factor = candidate(m, rule.u, ratio);
      VN_ASSIGN(const double loss, trial.loss(factor));
      if (!(loss < best.loss)) continue;
      best.factor = std::move(factor);
      best.rule = fmt::format("{} {:.2f}", rule.name, ratio);
      best.loss = loss;
    }
  }
  return best;
}

}  // namespace vernier::awq
