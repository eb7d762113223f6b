#include "runtime/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/threads.h"

namespace vernier {
namespace {

constexpr std::int64_t kGrainRows = 64;

// The weight with which `row` of a routing goes to `expert`.
std::optional<float> weight_of(const float* row, std::int64_t top_k, std::int64_t expert) {
  for (std::int64_t i = 0; i < top_k; ++i) {
    if (row[i] == static_cast<float>(expert)) return row[top_k + i];
  }
  return std::nullopt;
}

}  // namespace

Buffer route(const Op& op, Matrix<const float> logits) {
  Buffer routing(logits.rows, 2 * op.top_k);
  parallel_ranges(logits.rows, kGrainRows, [&](std::int64_t first, std::int64_t last) {
    std::vector<int> order(logits.cols);
    std::vector<float> weight(logits.cols);
    for (std::int64_t t = first; t < last; ++t) {
      const float* row = logits.row(t);
      const float maximum = *std::max_element(row, row + logits.cols);
      float sum = 0;
      for (std::int64_t e = 0; e < logits.cols; ++e) sum += weight[e] = std::exp(row[e] - maximum);
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + op.top_k, order.end(),
                        [&](int a, int b) { return weight[a] > weight[b] || (weight[a] == weight[b] && a < b); });
      float chosen = 0;
      for (std::int64_t i = 0; i < op.top_k; ++i) chosen += weight[order[i]];
      float* out = routing.matrix().row(t);
      for (std::int64_t i = 0; i < op.top_k; ++i) {
        out[i] = static_cast<float>(order[i]);
        out[op.top_k + i] = weight[order[i]] / (op.renormalize ? chosen : sum);
      }
    }
  });
  return routing;
}

Buffer gather(std::int32_t expert, Matrix<const float> x, Matrix<const float> routing) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t t = 0; t < routing.rows; ++t) {
    if (weight_of(routing.row(t), routing.cols / 2, expert)) tokens.push_back(t);
  }
  Buffer out(static_cast<std::int64_t>(tokens.size()), x.cols);
  parallel_ranges(out.rows, kGrainRows, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) std::copy_n(x.row(tokens[i]), x.cols, out.matrix().row(i));
  });
  return out;
}

Buffer combine(Matrix<const float> routing, std::span<const Matrix<const float>> outputs, std::int64_t width) {
  Buffer sum(routing.rows, width);
  for (std::size_t expert = 0; expert < outputs.size(); ++expert) {
    std::int64_t next = 0;  // row of outputs[expert]
    for (std::int64_t t = 0; t < routing.rows && next < outputs[expert].rows; ++t) {
      const auto weight = weight_of(routing.row(t), routing.cols / 2, static_cast<std::int64_t>(expert));
      if (!weight) continue;
      const float* row = outputs[expert].row(next++);
      float* out = sum.matrix().row(t);
      for (std::int64_t c = 0; c < width; ++c) out[c] += *weight * row[c];
    }
  }
  return sum;
}

}  // namespace vernier
