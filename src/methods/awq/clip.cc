#include "methods/awq/clip.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/threads.h"
#include "kernels/ops.h"

namespace vernier::awq {
namespace {

constexpr std::int64_t kMaxFactor = 512;  // columns of a Gram matrix, or tokens kept in its place
constexpr std::int64_t kRowsPerPiece = 32;

// F with d F d^T (`quadratic`) or |F d|^2 as the squared error of a group's output for an error d of its weights.
struct ErrorForm {
  std::vector<float> factor;  // [side, columns]
  std::int64_t side = 0;
  bool quadratic = false;
};

ErrorForm error_form(Matrix<const float> x) {
  ErrorForm form;
  const float per_token = 1 / static_cast<float>(std::max<std::int64_t>(x.rows, 1));
  if (x.cols <= kMaxFactor) {
    form = {std::vector<float>(x.cols * x.cols), x.cols, true};
    kernels::sgemm_at(x, x, {form.factor.data(), x.cols, x.cols}, per_token);
    return form;
  }
  form.side = std::min(x.rows, kMaxFactor);
  form.factor.resize(form.side * x.cols);
  const float scale = 1 / std::sqrt(static_cast<float>(form.side));
  for (std::int64_t t = 0; t < form.side; ++t) {
    const float* row = x.row(t * x.rows / form.side);
    std::transform(row, row + x.cols, form.factor.data() + t * x.cols, [&](float v) { return v * scale; });
  }
  return form;
}

// Squared errors of the rows of d.
void errors(Matrix<const float> d, const ErrorForm& form, std::span<double> out) {
  std::vector<float> product(d.rows * form.side);
  const Matrix<float> p(product.data(), d.rows, form.side);
  kernels::sgemm(d, {form.factor.data(), form.side, d.cols}, true, p);
  for (std::int64_t r = 0; r < d.rows; ++r) {
    const float* other = form.quadratic ? d.row(r) : p.row(r);
    double sum = 0;
    for (std::int64_t c = 0; c < form.side; ++c) sum += static_cast<double>(p(r, c)) * other[c];
    out[r] = std::max(sum, 0.0);
  }
}

// One group of some rows: every shrink of every row at once.
ClipReport clip_group(Matrix<float> w, const ErrorForm& form, const Grid& grid, const Range& range,
                      const ClipOptions& options) {
  const std::int64_t n = w.cols, steps = options.steps;
  std::vector<float> clamped(n), decoded(n), params(grid.params_per_group()), differences(w.rows * steps * n);
  std::vector<std::uint8_t> codes(n);
  std::vector<double> error(w.rows * steps);
  const auto bounds = [&](std::int64_t r, std::int64_t step) {
    const auto [least, most] = std::minmax_element(w.row(r), w.row(r) + n);
    float low = std::min(*least, 0.0f), high = std::max(*most, 0.0f);
    if (grid.spec().symmetric) low = -(high = std::max(-low, high));
    const auto shrink = static_cast<float>(1 - options.max_shrink * static_cast<double>(step) / steps);
    return std::pair(low * shrink, high * shrink);
  };
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t step = 0; step < steps; ++step) {
      const auto [low, high] = bounds(r, step);
      std::transform(w.row(r), w.row(r) + n, clamped.begin(),
                     [low = low, high = high](float v) { return std::clamp(v, low, high); });
      range.fit(grid, clamped, {}, params);
      grid.encode(clamped, params, codes, decoded);
      float* d = differences.data() + (r * steps + step) * n;
      for (std::int64_t c = 0; c < n; ++c) d[c] = decoded[c] - w(r, c);
    }
  errors({differences.data(), w.rows * steps, n}, form, error);

  ClipReport report{.groups = w.rows};
  for (std::int64_t r = 0; r < w.rows; ++r) {
    const double* of_row = error.data() + r * steps;
    const std::int64_t best = std::min_element(of_row, of_row + steps) - of_row;
    report.error += of_row[best];
    report.unclipped_error += of_row[0];
    if (best == 0) continue;
    ++report.clipped;
    const auto [low, high] = bounds(r, best);
    std::transform(w.row(r), w.row(r) + n, w.row(r),
                   [low = low, high = high](float v) { return std::clamp(v, low, high); });
  }
  return report;
}

}  // namespace

bool feeds_scores(const Graph& graph, int linear_op) {
  std::vector<bool> reached(graph.values.size(), false);
  reached[graph.ops[linear_op].output] = true;
  for (const Op& op : graph.ops) {
    if (op.kind == OpKind::attention && (reached[op.inputs[0]] || reached[op.inputs[1]])) return true;
    if (op.kind == OpKind::rope || op.kind == OpKind::rms_norm || op.kind == OpKind::layer_norm)
      reached[op.output] = reached[op.inputs[0]];
  }
  return false;
}

ClipReport clip_weight(Matrix<float> weight, Matrix<const float> x, const Grid& grid, const Range& range,
                       const ClipOptions& options) {
  ClipReport total;
  if (grid.per_tensor() || x.rows == 0) return total;
  const std::int64_t group = grid.group_columns(weight.cols), groups = grid.groups(weight.cols);
  const std::int64_t pieces = (weight.rows + kRowsPerPiece - 1) / kRowsPerPiece;
  std::vector<ErrorForm> forms(groups);
  parallel_for(groups, [&](std::int64_t g) {
    forms[g] = error_form(x.cols_slice(g * group, std::min(group, weight.cols - g * group)));
  });
  std::vector<ClipReport> reports(groups * pieces);
  parallel_for(groups * pieces, [&](std::int64_t i) {
    const std::int64_t g = i / pieces, first = (i % pieces) * kRowsPerPiece;
    const Matrix<float> part = weight.rows_slice(first, std::min(kRowsPerPiece, weight.rows - first))
                                   .cols_slice(g * group, std::min(group, weight.cols - g * group));
    reports[i] = clip_group(part, forms[g], grid, range, options);
  });
  for (const ClipReport& report : reports) {
    total.groups += report.groups;
    total.clipped += report.clipped;
    total.error += report.error;
    total.unclipped_error += report.unclipped_error;
  }
  return total;
}

}  // namespace vernier::awq
