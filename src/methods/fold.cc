#include "methods/fold.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/threads.h"

namespace vernier {
namespace {

constexpr std::int64_t kRowsPerPiece = 64;

// Row r of a linear's weight, or element r of a norm's or a bias, divided by factor[r].
void divide_rows(Matrix<float> w, std::span<const float> factor) {
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t c = 0; c < w.cols; ++c) w(r, c) = static_cast<float>(static_cast<double>(w(r, c)) / factor[r]);
}

Matrix<float> as_column(Tensor& vector) { return {vector.as<float>().data(), vector.shape().elements(), 1}; }

Status fold_into_producer(BlockContext& block, const Op& op, std::span<const float> factor) {
  VN_ASSIGN(Tensor * weight, block.master(op.weight));
  if (op.kind == OpKind::linear) {
    divide_rows(weight->matrix(), factor);
  } else {
    std::span<float> w = weight->as<float>();
    for (std::size_t j = 0; j < w.size(); ++j)
      w[j] = static_cast<float>((static_cast<double>(op.unit_offset) + w[j]) / factor[j] - op.unit_offset);
  }
  VN_TRY(block.master_changed(op.weight));
  if (op.bias < 0) return {};
  VN_ASSIGN(Tensor * bias, block.master(op.bias));
  divide_rows(as_column(*bias), factor);
  return block.master_changed(op.bias);
}

}  // namespace

std::vector<float> factor_of_columns(const ScaleEdge& edge, std::span<const float> factor) {
  std::vector<float> columns(edge.producer_channel.size());
  for (std::size_t c = 0; c < columns.size(); ++c) columns[c] = factor[edge.producer_channel[c]];
  return columns;
}

std::vector<float> channel_max(const ScaleEdge& edge, std::span<const float> columns) {
  std::vector<float> channels(edge.channels, 0.0f);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    float& channel = channels[edge.producer_channel[c]];
    channel = std::max(channel, columns[c]);
  }
  return channels;
}

std::vector<float> channel_mean(const ScaleEdge& edge, std::span<const float> columns) {
  std::vector<double> sum(edge.channels, 0.0);
  std::vector<std::int64_t> count(edge.channels, 0);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    sum[edge.producer_channel[c]] += columns[c];
    ++count[edge.producer_channel[c]];
  }
  std::vector<float> channels(edge.channels, 0.0f);
  for (std::int64_t j = 0; j < edge.channels; ++j)
    if (count[j] > 0) channels[j] = static_cast<float>(sum[j] / count[j]);
  return channels;
}

void scale_columns(Matrix<const float> w, std::span<const float> factor, Matrix<float> out) {
  parallel_ranges(w.rows, kRowsPerPiece, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t c = 0; c < w.cols; ++c) out(r, c) = w(r, c) * factor[c];
  });
}

std::vector<ScaleEdge> foldable_edges(const BlockContext& block) {
  const Graph& graph = block.graph();
  std::vector<ScaleEdge> edges = scale_edges(graph);
  std::erase_if(edges, [&](const ScaleEdge& edge) {
    return graph.ops[edge.producer].weight < 0 ||
           std::none_of(edge.consumers.begin(), edge.consumers.end(),
                        [&](int op) { return block.grid(op) != nullptr || block.activation(op).has_value(); });
  });
  return edges;
}

Status fold_factor(BlockContext& block, const ScaleEdge& edge, std::span<const float> factor) {
  for (std::size_t j = 0; j < factor.size(); ++j)
    if (!std::isfinite(factor[j]) || factor[j] <= 0)
      return fail(ErrorCode::invalid, "{}: factor of channel {} is {}; wanted a finite positive one", edge.name, j,
                  factor[j]);
  const Graph& graph = block.graph();
  VN_TRY(fold_into_producer(block, graph.ops[edge.producer], factor));
  const std::vector<float> columns = factor_of_columns(edge, factor);
  for (const int consumer : edge.consumers) {
    const TensorId weight = graph.ops[consumer].weight;
    VN_ASSIGN(Tensor * master, block.master(weight));
    scale_columns(master->matrix(), columns, master->matrix());
    VN_TRY(block.master_changed(weight));
  }
  return {};
}

}  // namespace vernier
