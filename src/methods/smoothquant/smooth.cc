#include "methods/smoothquant/smooth.h"

#include <algorithm>
#include <cmath>

#include "methods/fold.h"

namespace vernier::smoothquant {
namespace {
constexpr double kFloor = 1e-5;
}

std::vector<float> smooth_factor(std::span<const float> amax, std::span<const float> wmax, double alpha) {
  std::vector<float> factor(amax.size(), 1.0f);
  for (std::size_t j = 0; j < factor.size(); ++j) {
    if (amax[j] == 0) continue;
    const double w = std::max(static_cast<double>(wmax[j]), kFloor);
    const double s = std::pow(static_cast<double>(amax[j]), alpha) / std::pow(w, 1 - alpha);
    factor[j] = static_cast<float>(std::max(s, kFloor));
  }
  return factor;
}

Result<std::vector<float>> weight_maxima(BlockContext& block, const ScaleEdge& edge) {
  std::vector<float> columns(edge.producer_channel.size(), 0.0f);
  for (const int op : edge.consumers) {
    VN_ASSIGN(const Tensor* master, block.master(block.graph().ops[op].weight));
    const Matrix<const float> w = master->matrix();
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t c = 0; c < w.cols; ++c) columns[c] = std::max(columns[c], std::abs(w(r, c)));
  }
  return channel_max(edge, columns);
}

}  // namespace vernier::smoothquant
