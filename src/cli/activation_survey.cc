#include "cli/activation_survey.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "arch/residual.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/random.h"
#include "base/threads.h"
#include "kernels/ops.h"
#include "runtime/executor.h"

namespace vernier {
namespace {

constexpr std::int64_t kMaxMomentWidth = 16384, kMomentRows = 128;
constexpr int kIterations = 50;  // of the subspace: far more than well separated outliers need

// Hands `visit` the values that `wanted` names of every graph, in order: embedding, blocks, head.
Status walk(const ModelSource& source, const Sequences& sequences, bool head,
            const std::function<std::vector<ValueId>(int graph)>& wanted,
            const std::function<void(Matrix<const float>)>& visit) {
  const auto executor = make_core_executor();
  Batch batch = Batch::uniform(sequences.count, sequences.length);
  batch.ids = sequences.ids;
  Buffer hidden;
  const std::vector<const Graph*> graphs = source.graph().graphs();
  for (std::size_t g = 0; g + (head ? 0 : 1) < graphs.size(); ++g) {
    VN_TRY(check_interrupt());
    const Graph& graph = *graphs[g];
    const bool last = g + 1 == graphs.size();
    VN_ASSIGN(const WeightTable weights, load_weights(source, graph));
    ValueTable values(graph);
    if (graph.input >= 0) values.set(graph.input, std::move(hidden));
    std::vector<ValueId> targets = wanted(static_cast<int>(g));
    const std::vector<ValueId> seen = targets;
    if (!last && std::find(targets.begin(), targets.end(), graph.output) == targets.end())
      targets.push_back(graph.output);
    if (!targets.empty()) VN_TRY(executor->evaluate(graph, weights, batch, values, targets));
    for (const ValueId v : seen) visit(values[v].matrix());
    if (!last) hidden = values.take(graph.output);
    source.release(graph);
  }
  return {};
}

struct Outliers {
  double channel_ratio = 0, kurtosis = 0;
};

Outliers outliers_of(Matrix<const float> x) {
  std::vector<float> channels(x.cols, 0.0f);
  double mean = 0;
  for (std::int64_t r = 0; r < x.rows; ++r)
    for (std::int64_t c = 0; c < x.cols; ++c) {
      channels[c] = std::max(channels[c], std::abs(x(r, c)));
      mean += x(r, c);
    }
  mean /= static_cast<double>(x.rows * x.cols);
  double second = 0, fourth = 0;
  for (std::int64_t r = 0; r < x.rows; ++r)
    for (std::int64_t c = 0; c < x.cols; ++c) {
      const double square = (x(r, c) - mean) * (x(r, c) - mean);
      second += square;
      fourth += square * square;
    }
  std::sort(channels.begin(), channels.end());
  const double median = channels[channels.size() / 2];
  return {median > 0 ? channels.back() / median : 0,
          second > 0 ? fourth * static_cast<double>(x.rows * x.cols) / (second * second) : 0};
}

// moments += y^T y, y the rows of x divided by their root mean square.
void add_moments(Matrix<const float> x, Matrix<float> moments) {
  Buffer unit(x.rows, x.cols);
  kernels::rms_norm(x, {}, 1e-12f, 0, 0, unit.matrix());
  parallel_ranges(x.cols, kMomentRows, [&](std::int64_t first, std::int64_t last) {
    const Matrix<const float> y = std::as_const(unit).matrix();
    kernels::sgemm_at(y.cols_slice(first, last - first), y, moments.rows_slice(first, last - first), 1, true);
  });
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void orthonormalize(std::vector<std::vector<double>>& vectors) {
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    std::vector<double>& v = vectors[i];
    for (std::size_t j = 0; j < i; ++j) {
      const double along = dot(v, vectors[j]);
      for (std::size_t c = 0; c < v.size(); ++c) v[c] -= along * vectors[j][c];
    }
    const double length = std::sqrt(dot(v, v));
    for (double& value : v) value /= length > 0 ? length : 1;
  }
}

}  // namespace

Result<OutlierFigures> survey_outliers(const ModelSource& source, const Sequences& sequences) {
  const std::vector<const Graph*> graphs = source.graph().graphs();
  OutlierFigures figures;
  VN_TRY(walk(
      source, sequences, false,
      [&](int g) {
        std::set<ValueId> inputs;
        const Graph& graph = *graphs[g];
        for (const Op& op : graph.ops)
          if (g > 0 && op.kind == OpKind::linear && graph.values[op.inputs[0]].expert < 0) inputs.insert(op.inputs[0]);
        return std::vector<ValueId>(inputs.begin(), inputs.end());
      },
      [&](Matrix<const float> x) {
        const Outliers outliers = outliers_of(x);
        ++figures.inputs;
        figures.channel_ratio += outliers.channel_ratio;
        figures.kurtosis += outliers.kurtosis;
        figures.worst_channel_ratio = std::max(figures.worst_channel_ratio, outliers.channel_ratio);
        figures.worst_kurtosis = std::max(figures.worst_kurtosis, outliers.kurtosis);
      }));
  if (figures.inputs > 0) {
    figures.channel_ratio /= static_cast<double>(figures.inputs);
    figures.kurtosis /= static_cast<double>(figures.inputs);
  }
  return figures;
}

Result<std::vector<std::vector<double>>> principal_directions(const ModelSource& source, const Sequences& sequences,
                                                              std::int64_t count) {
  const std::int64_t width = source.graph().hidden;
  if (width > kMaxMomentWidth)
    return fail(ErrorCode::unsupported, "{}: principal directions of {} channels; at most {} are handled",
                source.path(), width, kMaxMomentWidth);
  VN_ASSIGN(const ResidualStream stream, ResidualStream::find(source.graph()));
  const std::vector<const Graph*> graphs = source.graph().graphs();
  Buffer moments(width, width);
  VN_TRY(walk(
      source, sequences, true,
      [&](int g) {
        std::set<ValueId> inputs;
        for (const ResidualStream::Norm& norm : stream.norms)
          if (norm.norm.graph == g) inputs.insert(graphs[g]->ops[norm.norm.op].inputs[0]);
        return std::vector<ValueId>(inputs.begin(), inputs.end());
      },
      [&](Matrix<const float> x) { add_moments(x, moments.matrix()); }));

  const Random random(0);
  std::vector<std::vector<double>> vectors(std::min(count, width), std::vector<double>(width));
  for (std::size_t i = 0; i < vectors.size(); ++i)
    for (std::int64_t c = 0; c < width; ++c) vectors[i][c] = random.normal(i * width + c);
  orthonormalize(vectors);
  for (int pass = 0; pass < kIterations; ++pass) {
    std::vector<std::vector<double>> next(vectors.size(), std::vector<double>(width));
    parallel_ranges(width, kMomentRows, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r)
        for (std::size_t i = 0; i < vectors.size(); ++i) {
          double sum = 0;
          for (std::int64_t c = 0; c < width; ++c) sum += moments.matrix()(r, c) * vectors[i][c];
          next[i][r] = sum;
        }
    });
    vectors = std::move(next);
    orthonormalize(vectors);
  }
  return vectors;
}

}  // namespace vernier
