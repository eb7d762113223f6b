#include "runtime/reference_executor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vernier::testing {
namespace {

class Run {
 public:
  Run(const ModelSource& source, const Graph& graph, std::span<const TokenId> ids)
      : source_(source), graph_(graph), ids_(ids), values_(graph.values.size()) {}

  Result<Buffer> all(const Buffer* input) {
    if (input != nullptr) values_[graph_.input] = *input;
    for (const Op& op : graph_.ops) {
      VN_TRY(load(op));
      values_[op.output] = evaluate(op);
    }
    return values_[graph_.output];
  }

 private:
  // weight_ [rows, cols] and bias_ of `op`; empty where it has none. A norm's weight is one row.
  Status load(const Op& op) {
    weight_ = {};
    bias_ = {};
    const auto vector = [&](TensorId id, Buffer& into) -> Status {
      VN_ASSIGN(const Tensor tensor, source_.vector(graph_.tensors[id].name));
      into = Buffer(1, tensor.shape().elements());
      std::copy_n(tensor.as<float>().begin(), into.cols, into.data.begin());
      return {};
    };
    if (op.bias >= 0) VN_TRY(vector(op.bias, bias_));
    if (op.weight < 0) return {};
    if (graph_.tensors[op.weight].shape.rank() == 1) return vector(op.weight, weight_);
    VN_ASSIGN(const auto matrix, source_.matrix(graph_.tensors[op.weight].name));
    weight_ = Buffer(matrix->rows(), matrix->cols());
    matrix->decode_rows(0, matrix->rows(), weight_.data.data());
    return {};
  }

  const Buffer& in(const Op& op, std::size_t i) const { return values_[op.inputs[i]]; }
  static const float* row(const Buffer& b, std::int64_t r) { return b.data.data() + r * b.cols; }
  static float* row(Buffer& b, std::int64_t r) { return b.data.data() + r * b.cols; }

  Buffer evaluate(const Op& op) {
    switch (op.kind) {
      case OpKind::embedding:
        return embedding();
      case OpKind::position_embedding:
        return position_embedding(op);
      case OpKind::linear:
        return linear(op);
      case OpKind::rms_norm:
        return rms_norm(op);
      case OpKind::layer_norm:
        return layer_norm(op);
      case OpKind::rope:
        return rope(op);
      case OpKind::attention:
        return attention(op);
      case OpKind::silu:
        return map(op, [](double x) { return x / (1 + std::exp(-x)); });
      case OpKind::relu:
        return map(op, [](double x) { return std::max(x, 0.0); });
      case OpKind::gelu:
        return map(op, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); });
      case OpKind::multiply:
        return zip(op, [](float a, float b) { return a * b; });
      case OpKind::add:
        return zip(op, [](float a, float b) { return a + b; });
      case OpKind::route:
        return route(op);
      case OpKind::gather:
        return gather(op);
      case OpKind::combine:
        return combine(op);
    }
    return {};
  }

  Buffer embedding() const {
    Buffer y(static_cast<std::int64_t>(ids_.size()), weight_.cols);
    for (std::int64_t t = 0; t < y.rows; ++t) std::copy_n(row(weight_, ids_[t]), y.cols, row(y, t));
    return y;
  }

  Buffer position_embedding(const Op& op) const {
    Buffer y = in(op, 0);
    for (std::int64_t t = 0; t < y.rows; ++t)
      for (std::int64_t c = 0; c < y.cols; ++c) row(y, t)[c] += row(weight_, t + op.offset)[c];
    return y;
  }

  Buffer linear(const Op& op) const {
    const Buffer& x = in(op, 0);
    Buffer y(x.rows, weight_.rows);
    for (std::int64_t t = 0; t < y.rows; ++t)
      for (std::int64_t o = 0; o < y.cols; ++o) {
        double sum = bias_.cols > 0 ? bias_.data[o] : 0;
        for (std::int64_t c = 0; c < x.cols; ++c) sum += double{row(x, t)[c]} * row(weight_, o)[c];
        row(y, t)[o] = static_cast<float>(sum);
      }
    return y;
  }

  Buffer rms_norm(const Op& op) const {
    Buffer y = in(op, 0);
    const std::int64_t width = op.slice > 0 ? op.slice : y.cols;
    for (float* x = y.data.data(); x != y.data.data() + y.data.size(); x += width) {
      double squares = 0;
      for (std::int64_t c = 0; c < width; ++c) squares += double{x[c]} * x[c];
      const double factor = 1 / std::sqrt(squares / static_cast<double>(width) + op.eps);
      for (std::int64_t c = 0; c < width; ++c)
        x[c] = static_cast<float>(x[c] * factor * (double{op.unit_offset} + weight_.data[c]));
    }
    return y;
  }

  Buffer layer_norm(const Op& op) const {
    Buffer y = in(op, 0);
    for (std::int64_t t = 0; t < y.rows; ++t) {
      float* x = row(y, t);
      const double mean = std::accumulate(x, x + y.cols, 0.0) / static_cast<double>(y.cols);
      double squares = 0;
      for (std::int64_t c = 0; c < y.cols; ++c) squares += (x[c] - mean) * (x[c] - mean);
      const double factor = 1 / std::sqrt(squares / static_cast<double>(y.cols) + op.eps);
      for (std::int64_t c = 0; c < y.cols; ++c) {
        const double normed = (x[c] - mean) * factor;
        x[c] = static_cast<float>(normed * (op.weight >= 0 ? weight_.data[c] : 1) + (op.bias >= 0 ? bias_.data[c] : 0));
      }
    }
    return y;
  }

  // The angle is a float product, as in the models' own code.
  Buffer rope(const Op& op) const {
    Buffer y = in(op, 0);
    const std::int64_t half = op.head_dim / 2;
    for (std::int64_t t = 0; t < y.rows; ++t)
      for (std::int64_t h = 0; h < op.heads; ++h)
        for (std::int64_t j = 0; j < half; ++j) {
          float& first = row(y, t)[h * op.head_dim + j];
          float& second = row(y, t)[h * op.head_dim + j + half];
          const double angle = static_cast<float>(t) * op.rope.inverse_frequency[j];
          const double cosine = std::cos(angle) * op.rope.magnitude, sine = std::sin(angle) * op.rope.magnitude;
          const double a = first, b = second;
          first = static_cast<float>(a * cosine - b * sine);
          second = static_cast<float>(b * cosine + a * sine);
        }
    return y;
  }

  Buffer attention(const Op& op) const {
    const Buffer &q = in(op, 0), &k = in(op, 1), &v = in(op, 2);
    Buffer y(q.rows, q.cols);
    for (std::int64_t t = 0; t < y.rows; ++t)
      for (std::int64_t h = 0; h < op.heads; ++h) {
        const std::int64_t from = h * op.head_dim, kv = h / (op.heads / op.kv_heads) * op.head_dim;
        const std::int64_t first = op.window > 0 ? std::max<std::int64_t>(0, t - op.window + 1) : 0;
        std::vector<double> weights;
        for (std::int64_t s = first; s <= t; ++s) {
          double dot = 0;
          for (std::int64_t i = 0; i < op.head_dim; ++i) dot += double{row(q, t)[from + i]} * row(k, s)[kv + i];
          weights.push_back(dot * op.scale);
        }
        softmax(weights);
        for (std::int64_t i = 0; i < op.head_dim; ++i) {
          double sum = 0;
          for (std::int64_t s = first; s <= t; ++s) sum += weights[s - first] * row(v, s)[kv + i];
          row(y, t)[from + i] = static_cast<float>(sum);
        }
      }
    return y;
  }

  static void softmax(std::vector<double>& x) {
    const double highest = *std::max_element(x.begin(), x.end());
    for (double& v : x) v = std::exp(v - highest);
    const double sum = std::accumulate(x.begin(), x.end(), 0.0);
    for (double& v : x) v /= sum;
  }

  template <class F>
  Buffer map(const Op& op, F f) const {
    Buffer y = in(op, 0);
    for (float& x : y.data) x = static_cast<float>(f(x));
    return y;
  }

  template <class F>
  Buffer zip(const Op& op, F f) const {
    Buffer y = in(op, 0);
    for (std::size_t i = 0; i < y.data.size(); ++i) y.data[i] = f(y.data[i], in(op, 1).data[i]);
    return y;
  }

  // The top_k most probable experts, ties to the lower id.
  Buffer route(const Op& op) const {
    const Buffer& x = in(op, 0);
    Buffer y(x.rows, 2 * op.top_k);
    for (std::int64_t t = 0; t < x.rows; ++t) {
      std::vector<double> p(row(x, t), row(x, t) + x.cols);
      softmax(p);
      std::vector<std::int64_t> order(p.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return p[a] > p[b]; });
      double chosen = 0;
      for (std::int64_t i = 0; i < op.top_k; ++i) chosen += p[order[i]];
      for (std::int64_t i = 0; i < op.top_k; ++i) {
        row(y, t)[i] = static_cast<float>(order[i]);
        row(y, t)[op.top_k + i] = static_cast<float>(p[order[i]] / (op.renormalize ? chosen : 1));
      }
    }
    return y;
  }

  // The place of `expert` among a token's choices, or -1.
  static std::int64_t place(const Op& op, const float* routing, std::int64_t expert) {
    for (std::int64_t i = 0; i < op.top_k; ++i)
      if (routing[i] == static_cast<float>(expert)) return i;
    return -1;
  }

  Buffer gather(const Op& op) const {
    const Buffer &x = in(op, 0), &routing = in(op, 1);
    Buffer y(0, x.cols);
    for (std::int64_t t = 0; t < x.rows; ++t) {
      if (place(op, row(routing, t), op.expert) < 0) continue;
      y.data.insert(y.data.end(), row(x, t), row(x, t) + x.cols);
      ++y.rows;
    }
    return y;
  }

  Buffer combine(const Op& op) const {
    const Buffer& routing = in(op, 0);
    Buffer y(routing.rows, graph_.values[op.output].width);
    for (std::int64_t e = 0; e < op.experts; ++e) {
      std::int64_t next = 0;
      for (std::int64_t t = 0; t < y.rows; ++t) {
        const std::int64_t i = place(op, row(routing, t), e);
        if (i < 0) continue;
        const float* part = row(in(op, 1 + e), next++);
        for (std::int64_t c = 0; c < y.cols; ++c) row(y, t)[c] += row(routing, t)[op.top_k + i] * part[c];
      }
    }
    return y;
  }

  const ModelSource& source_;
  const Graph& graph_;
  std::span<const TokenId> ids_;
  std::vector<Buffer> values_;
  Buffer weight_, bias_;
};

}  // namespace

Result<Buffer> reference_graph(const ModelSource& source, const Graph& graph, std::span<const TokenId> ids,
                               const Buffer* input) {
  return Run(source, graph, ids).all(input);
}

Result<Buffer> reference_logits(const ModelSource& source, std::span<const TokenId> ids) {
  Buffer hidden;
  for (const Graph* graph : source.graph().graphs()) {
    VN_ASSIGN(hidden, reference_graph(source, *graph, ids, graph->input < 0 ? nullptr : &hidden));
  }
  return hidden;
}

}  // namespace vernier::testing
