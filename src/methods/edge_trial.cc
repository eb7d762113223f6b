#include "methods/edge_trial.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/threads.h"
#include "methods/fold.h"

namespace vernier {
namespace {

constexpr std::int64_t kRowsPerPiece = 64;

// Mean of (a - b)^2, summed in pieces of fixed rows.
double mean_squared_error(Matrix<const float> a, Matrix<const float> b) {
  const std::int64_t pieces = (a.rows + kRowsPerPiece - 1) / kRowsPerPiece;
  std::vector<double> sums(pieces, 0.0);
  parallel_for(pieces, [&](std::int64_t piece) {
    double sum = 0;
    for (std::int64_t r = piece * kRowsPerPiece; r < std::min(a.rows, (piece + 1) * kRowsPerPiece); ++r)
      for (std::int64_t c = 0; c < a.cols; ++c) {
        const double d = static_cast<double>(a(r, c)) - b(r, c);
        sum += d * d;
      }
    sums[piece] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return a.rows > 0 ? total / static_cast<double>(a.rows * a.cols) : 0;
}

// Static scales from the extremes of x, as calibration will measure them (formats/activation.h).
ActivationSpec with_scale(ActivationSpec spec, Matrix<const float> x) {
  if (spec.dynamic) return spec;
  float low = 0, high = 0;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const auto [least, most] = std::minmax_element(x.row(r), x.row(r) + x.cols);
    low = std::min(low, *least);
    high = std::max(high, *most);
  }
  const float levels = static_cast<float>((1 << spec.bits) - 1);
  const float absmax = std::max(-low, high);
  spec.scale = std::max(spec.symmetric ? spec.symmetric_scale(absmax) : (high - low) / levels, 1e-12f);
  spec.zero = spec.symmetric ? 0 : std::clamp(std::round(-low / spec.scale), 0.0f, levels);
  return spec;
}

std::vector<bool> known_values(const Graph& graph, ValueId value) {
  std::vector<bool> known(graph.values.size(), false);
  known[value] = true;
  return known;
}

// Whether the inspected value depends on the block's input beside the edge's value.
bool needs_input(const Graph& graph, const ScaleEdge& edge, ValueId target) {
  if (graph.input < 0 || edge.value == graph.input) return false;
  for (const int op : required_ops(graph, known_values(graph, edge.value), std::span(&target, 1)))
    if (std::count(graph.ops[op].inputs.begin(), graph.ops[op].inputs.end(), graph.input)) return true;
  return false;
}

}  // namespace

ValueId inspected_value(const Graph& graph, const ScaleEdge& edge) {
  if (edge.kind != ScaleEdge::Kind::norm && edge.consumers.size() == 1) return graph.ops[edge.consumers[0]].output;
  std::vector<bool> depends = known_values(graph, edge.value);
  for (const Op& op : graph.ops) {
    const auto on_edge = [&](ValueId v) { return depends[v]; };
    const auto input = std::find_if(op.inputs.begin(), op.inputs.end(), on_edge);
    if (input == op.inputs.end()) continue;
    if (op.kind == OpKind::add && !std::all_of(op.inputs.begin(), op.inputs.end(), on_edge)) return *input;
    depends[op.output] = true;
  }
  return graph.output;
}

void quantize_dequantize(Matrix<const float> w, const Grid& grid, const Range& range, Matrix<float> out) {
  const std::int64_t group = grid.group_columns(w.cols), groups = grid.groups(w.cols);
  const int count = grid.params_per_group();
  const bool first_all = fits_tensor(grid), each_row = !grid.per_tensor();
  std::vector<float> fitted((first_all && each_row ? w.rows : 1) * groups * count);
  if (first_all) fit_tensor(grid, range, w, fitted);
  parallel_ranges(w.rows, kRowsPerPiece, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> own(groups * count), decoded(w.cols);
    std::vector<std::uint8_t> codes(w.cols);
    for (std::int64_t r = first; r < last; ++r) {
      const std::span<const float> row(w.row(r), static_cast<std::size_t>(w.cols));
      if (!first_all) fit_row(grid, range, row, {}, own);
      const std::span<const float> params =
          first_all ? std::span<const float>(fitted).subspan(each_row ? r * groups * count : 0, groups * count) : own;
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::size_t begin = g * group, n = std::min(group, w.cols - g * group);
        grid.encode(row.subspan(begin, n), params.subspan(g * count, count), std::span(codes).subspan(begin, n),
                    std::span(decoded).subspan(begin, n));
      }
      std::copy(decoded.begin(), decoded.end(), out.row(r));
    }
  });
}

EdgeTrial::EdgeTrial(BlockContext& block, const ScaleEdge& edge, Capture capture, ValueId target)
    : block_(&block), edge_(&edge), capture_(std::move(capture)), target_(target) {
  tokens_ = capture_.values[edge.value].rows;
}

Result<EdgeTrial> EdgeTrial::make(BlockContext& block, const ScaleEdge& edge, std::int64_t max_tokens) {
  const ValueId target = inspected_value(block.graph(), edge);
  std::vector<ValueId> wanted{edge.value, target};
  if (needs_input(block.graph(), edge, target)) wanted.push_back(block.graph().input);
  VN_ASSIGN(Capture capture, block.capture(wanted, max_tokens));
  return EdgeTrial(block, edge, std::move(capture), target);
}

Result<WeightTable> EdgeTrial::candidate_weights(std::span<const float> columns, Matrix<const float> x) {
  WeightTable table = block_->weights();
  for (const int op : edge_->consumers) {
    const TensorId id = block_->graph().ops[op].weight;
    VN_ASSIGN(Tensor * master, block_->master(id));
    Tensor candidate(DType::f32, master->shape());
    scale_columns(master->matrix(), columns, candidate.matrix());
    if (const auto grid = block_->grid(op))
      quantize_dequantize(candidate.matrix(), *grid, *block_->range(op), candidate.matrix());
    table.matrices[id] = dense_matrix(std::move(candidate));
    if (const auto spec = block_->activation(op)) table.activations[op] = with_scale(*spec, x);
  }
  return table;
}

Result<double> EdgeTrial::loss(std::span<const float> factor) {
  const std::vector<float> columns = factor_of_columns(*edge_, factor);
  std::vector<float> inverse(columns.size());
  std::transform(columns.begin(), columns.end(), inverse.begin(), [](float f) { return 1 / f; });

  const Graph& graph = block_->graph();
  const Buffer& x = capture_.values[edge_->value];
  Buffer scaled(x.rows, x.cols);
  scale_columns(x.matrix(), inverse, scaled.matrix());
  VN_ASSIGN(const WeightTable weights, candidate_weights(columns, scaled.matrix()));

  ValueTable values(graph);
  values.set(edge_->value, std::move(scaled));
  if (graph.input >= 0 && graph.input != edge_->value && capture_.values.has(graph.input))
    values.set(graph.input, capture_.values[graph.input]);
  VN_TRY(block_->executor().evaluate(graph, weights, capture_.batch, values, std::span(&target_, 1)));
  return mean_squared_error(values[target_].matrix(), capture_.values[target_].matrix());
}

std::int64_t EdgeTrial::working_bytes(const Graph& graph, const ScaleEdge& edge, std::int64_t tokens) {
  const ValueId target = inspected_value(graph, edge);
  std::int64_t width = 3 * graph.values[edge.value].width + 2 * graph.values[target].width, weights = 0;
  for (const int op : required_ops(graph, known_values(graph, edge.value), std::span(&target, 1)))
    width += graph.values[graph.ops[op].output].width;
  for (const int op : edge.consumers) weights += graph.tensors[graph.ops[op].weight].shape.elements();
  return (tokens * width + weights) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace vernier
