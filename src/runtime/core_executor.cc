#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "base/threads.h"
#include "kernels/attention/paged.h"
#include "kernels/ops.h"
#include "kernels/panel/panel.h"
#include "runtime/executor.h"
#include "runtime/fusion.h"
#include "runtime/kv_cache.h"
#include "runtime/mixture.h"

namespace vernier {
namespace {

// What calls of evaluate() share.
struct Shared {
  ExecutorOptions options;
  kernels::QuantizedRows rows;  // keeps its memory
};

// One call of evaluate().
class Evaluation {
 public:
  Evaluation(Shared& executor, const Graph& graph, const WeightTable& weights, const Batch& batch, ValueTable& values,
             KvCache* cache, int layer)
      : graph_(graph),
        weights_(weights),
        batch_(batch),
        values_(values),
        cache_(cache),
        layer_(layer),
        executor_(executor) {}

  Status run(std::span<const ValueId> targets) {
    VN_TRY(check_batch());
    VN_TRY(plan(targets));
    for (step_ = 0; step_ < steps_.size(); ++step_) {
      const Op& op = graph_.ops[steps_[step_]];
      VN_ASSIGN(Buffer result, fusion_.codes[op.output] ? compute_codes(op) : compute(op));
      values_.set(op.output, std::move(result));
      for (ValueId input : op.inputs) {
        if (!is_last_use(input)) continue;
        values_.erase(input);
        if (quantized_value_ == input) forget_quantized();
        if (integer_value_ == input) integer_value_ = -1;
      }
    }
    return {};
  }

 private:
  Status check_batch() {
    const std::size_t sequences = batch_.lengths.size();
    if (batch_.starts.size() != sequences || (cache_ && batch_.cache_slots.size() != sequences)) {
      return fail(ErrorCode::invalid, "{}: a batch of {} sequences has {} starts and {} cache slots", graph_.name,
                  sequences, batch_.starts.size(), batch_.cache_slots.size());
    }
    for (std::size_t s = 0; s < sequences; ++s) {
      const std::int64_t start = batch_.starts[s], end = start + batch_.lengths[s];
      if (!cache_ && start != 0) {
        return fail(ErrorCode::invalid, "{}: sequence {} starts at position {} without a KV cache", graph_.name, s,
                    start);
      }
      if (cache_ && (start < 0 || end > cache_->capacity() || batch_.cache_slots[s] < 0 ||
                     batch_.cache_slots[s] >= cache_->slots() || layer_ >= cache_->layers())) {
        return fail(ErrorCode::invalid,
                    "{}: positions {} to {} of slot {} in layer {} are outside of a KV cache of {} layers x {} slots x "
                    "{} tokens",
                    graph_.name, start, end, batch_.cache_slots[s], layer_, cache_->layers(), cache_->slots(),
                    cache_->capacity());
      }
      if (cache_) VN_TRY(cache_->reserve(batch_.cache_slots[s], end));
      for (std::int64_t p = start; p < end; ++p) positions_.push_back(p);
    }
    return {};
  }

  // Which ops run, and after which of them each value is dead.
  Status plan(std::span<const ValueId> targets) {
    const std::size_t count = graph_.values.size();
    keep_.resize(count);
    for (std::size_t v = 0; v < count; ++v) keep_[v] = values_.has(static_cast<ValueId>(v));
    steps_ = required_ops(graph_, keep_, targets);
    std::vector<bool> available = keep_;
    last_use_.assign(count, 0);
    for (std::size_t step = 0; step < steps_.size(); ++step) {
      const Op& op = graph_.ops[steps_[step]];
      for (ValueId input : op.inputs) {
        if (!available[input]) {
          return fail(ErrorCode::invalid, "{}: {} needs value {}, which was not given", graph_.name, op.name,
                      graph_.values[input].name);
        }
        last_use_[input] = step;
      }
      available[op.output] = true;
    }
    for (ValueId target : targets) {
      if (!available[target]) {
        return fail(ErrorCode::invalid, "{}: value {} was neither given nor is it computed by an op", graph_.name,
                    graph_.values[target].name);
      }
      keep_[target] = true;
    }
    fusion_ = find_fusion(graph_, steps_, keep_, [this](int op) { return integer_format(op); });
    return {};
  }

  bool is_last_use(ValueId v) const { return !keep_[v] && last_use_[v] == step_; }

  const Buffer& input(const Op& op, std::size_t i) const { return std::as_const(values_)[op.inputs[i]]; }

  // The first input as a buffer that may be overwritten: itself where nobody needs it any more, else a copy.
  Buffer writable_input(const Op& op) {
    const ValueId v = op.inputs[0];
    const bool read_again = std::count(op.inputs.begin(), op.inputs.end(), v) > 1;
    return is_last_use(v) && !read_again ? values_.take(v) : values_[v];
  }

  std::span<const float> vector(TensorId id) const {
    return id < 0 ? std::span<const float>() : weights_.vectors[id]->as<float>();
  }

  Result<Buffer> compute(const Op& op) {
    switch (op.kind) {
      case OpKind::embedding:
        return embedding(op);
      case OpKind::position_embedding:
        return position_embedding(op);
      case OpKind::linear:
        return linear(op);
      case OpKind::rms_norm: {
        Buffer x = writable_input(op);
        kernels::rms_norm(x.matrix(), vector(op.weight), op.eps, op.unit_offset, op.slice, x.matrix());
        return x;
      }
      case OpKind::layer_norm: {
        Buffer x = writable_input(op);
        kernels::layer_norm(x.matrix(), vector(op.weight), vector(op.bias), op.eps, x.matrix());
        return x;
      }
      case OpKind::rope: {
        VN_TRY(check_rows(op));
        Buffer x = writable_input(op);
        kernels::rope(x.matrix(), positions_, op.rope.inverse_frequency, op.rope.magnitude, op.head_dim);
        return x;
      }
      case OpKind::attention:
        return attention(op);
      case OpKind::silu:
        if (fusion_.silu[op.output]) return writable_input(op);
        return elementwise(op, kernels::silu);
      case OpKind::relu:
        return elementwise(op, kernels::relu);
      case OpKind::gelu:
        return elementwise(op, kernels::gelu);
      case OpKind::multiply:
        return binary(op, kernels::multiply);
      case OpKind::add:
        return binary(op, kernels::add);
      case OpKind::route:
        return route(op, input(op, 0).matrix());
      case OpKind::gather:
        return gather(op.expert, input(op, 0).matrix(), input(op, 1).matrix());
      case OpKind::combine: {
        std::vector<Matrix<const float>> outputs;
        for (std::size_t i = 1; i < op.inputs.size(); ++i) outputs.push_back(input(op, i).matrix());
        return combine(input(op, 0).matrix(), outputs, graph_.values[op.output].width);
      }
    }
    return fail(ErrorCode::unsupported, "{}: {}: the core executor has no op of kind {}", graph_.name, op.name,
                name(op.kind));
  }

  Buffer elementwise(const Op& op, void (*kernel)(Matrix<float>)) {
    Buffer x = writable_input(op);
    kernel(x.matrix());
    return x;
  }

  Result<Buffer> binary(const Op& op, void (*kernel)(Matrix<float>, Matrix<const float>)) {
    VN_TRY(check_equal_rows(op));
    Buffer x = writable_input(op);
    kernel(x.matrix(), input(op, 1).matrix());
    return x;
  }

  Status check_equal_rows(const Op& op) const {
    const std::int64_t first = input(op, 0).rows, second = input(op, 1).rows;
    if (first == second) return {};
    return fail(ErrorCode::mismatch, "{}: {}: {} rows against {}", graph_.name, op.name, first, second);
  }

  // Ops that look at positions need one row per token of the batch.
  Status check_rows(const Op& op) const {
    for (ValueId v : op.inputs) {
      if (const Buffer& x = std::as_const(values_)[v]; x.rows != batch_.rows()) {
        return fail(ErrorCode::mismatch, "{}: {}: the batch has {} tokens, value {} has {} rows", graph_.name, op.name,
                    batch_.rows(), graph_.values[v].name, x.rows);
      }
    }
    return {};
  }

  Result<Buffer> embedding(const Op& op) {
    const WeightMatrix& weight = *weights_.matrices[op.weight];
    if (static_cast<std::int64_t>(batch_.ids.size()) != batch_.rows()) {
      return fail(ErrorCode::mismatch, "{}: {}: the batch has {} tokens and {} ids", graph_.name, op.name,
                  batch_.rows(), batch_.ids.size());
    }
    for (TokenId id : batch_.ids) {
      if (id < 0 || id >= weight.rows()) {
        return with_hint(
            fail(ErrorCode::invalid, "{}: token id {} is outside of the vocabulary of {}", op.name, id, weight.rows()),
            "check that the tokenizer belongs to this model");
      }
    }
    Buffer out(batch_.rows(), weight.cols());
    parallel_for(out.rows, [&](std::int64_t t) { weight.decode_rows(batch_.ids[t], 1, out.matrix().row(t)); });
    return out;
  }

  Result<Buffer> position_embedding(const Op& op) {
    VN_TRY(check_rows(op));
    const WeightMatrix& weight = *weights_.matrices[op.weight];
    for (std::int64_t position : positions_) {
      if (position + op.offset >= weight.rows()) {
        return with_hint(fail(ErrorCode::invalid, "{}: position {} is beyond the {} this model learned", op.name,
                              position, weight.rows() - op.offset),
                         "use a shorter context");
      }
    }
    Buffer x = writable_input(op);
    Buffer offsets(x.rows, x.cols);
    parallel_for(x.rows,
                 [&](std::int64_t t) { weight.decode_rows(positions_[t] + op.offset, 1, offsets.matrix().row(t)); });
    kernels::add(x.matrix(), offsets.matrix());
    return x;
  }

  const kernels::PanelMatrix* panels(const Op& op) const {
    return dynamic_cast<const kernels::PanelMatrix*>(weights_.matrices[op.weight].get());
  }

  // How the input of a linear op on panels is quantized for a product in integers; none: the product is one of floats.
  std::optional<kernels::RowsFormat> integer_format(int op) const {
    const kernels::PanelMatrix* weight = panels(graph_.ops[op]);
    if (!weight || executor_.options.simulate) return std::nullopt;
    kernels::RowsFormat format = kernels::rows_format(*weight);
    const auto found = weights_.activations.find(op);
    if (found == weights_.activations.end())
      return executor_.options.int8_inputs ? std::optional(format) : std::nullopt;
    const ActivationSpec& spec = found->second;
    if (spec.bits != 8 || !spec.symmetric || spec.full_range || spec.floating || spec.group > 0 ||
        (spec.dynamic && !spec.per_token))
      return std::nullopt;
    format.per_group = false;
    if (!spec.dynamic) format.static_scale = spec.scale;
    return format;
  }

  const kernels::QuantizedRows& integer_rows(ValueId value, const kernels::RowsFormat& format) {
    if (integer_value_ != value || executor_.rows.format() != format) {
      kernels::quantize_rows(std::as_const(values_)[value].matrix(), format, executor_.rows);
      integer_value_ = value;
    }
    return executor_.rows;
  }

  // An op whose readers want its output quantized: the codes go to executor_.rows, the value stays empty.
  Result<Buffer> compute_codes(const Op& op) {
    std::size_t reader = step_ + 1;
    while (graph_.ops[steps_[reader]].kind != OpKind::linear) ++reader;
    const kernels::RowsFormat format = *integer_format(steps_[reader]);
    const Buffer& x = input(op, 0);
    if (op.kind == OpKind::rms_norm) {
      kernels::quantize_norm_rows(x.matrix(), vector(op.weight), op.eps, op.unit_offset, format, executor_.rows);
    } else {
      VN_TRY(check_equal_rows(op));
      kernels::quantize_product_rows(x.matrix(), input(op, 1).matrix(), fusion_.silu[op.inputs[0]], format,
                                     executor_.rows);
    }
    integer_value_ = op.output;
    return Buffer();
  }

  Buffer linear(const Op& op) {
    if (const auto format = integer_format(steps_[step_])) {
      const kernels::QuantizedRows& rows = integer_rows(op.inputs[0], *format);
      Buffer y(rows.tokens(), panels(op)->rows());
      kernels::panel_linear(rows, *panels(op), vector(op.bias), y.matrix());
      return y;
    }
    const Buffer& x = linear_input(op);
    const WeightMatrix& weight = *weights_.matrices[op.weight];
    Buffer y(x.rows, weight.rows());
    kernels::linear(x.matrix(), weight, vector(op.bias), y.matrix());
    return y;
  }

  // The input of a linear, quantized where the weights say so. Linears that share a value and a quantizer share the
  // copy.
  const Buffer& linear_input(const Op& op) {
    const auto spec = weights_.activations.find(steps_[step_]);
    if (spec == weights_.activations.end()) return input(op, 0);
    if (quantized_value_ != op.inputs[0] || !(quantized_spec_ == spec->second)) {
      quantized_value_ = op.inputs[0];
      quantized_spec_ = spec->second;
      quantized_ = input(op, 0);
      kernels::fake_quantize(quantized_.matrix(), quantized_spec_);
    }
    return quantized_;
  }

  void forget_quantized() {
    quantized_value_ = -1;
    quantized_ = {};
  }

  Result<Buffer> attention(const Op& op) {
    VN_TRY(check_rows(op));
    const Buffer &q = input(op, 0), &k = input(op, 1), &v = input(op, 2);
    Buffer out(q.rows, q.cols);
    std::vector<std::int64_t> first_row(batch_.lengths.size());
    for (std::size_t s = 1; s < first_row.size(); ++s) first_row[s] = first_row[s - 1] + batch_.lengths[s - 1];

    const kernels::AttentionShape shape{op.heads, op.kv_heads, op.head_dim, op.window, 0, op.scale};
    if (cache_) {
      std::vector<kernels::KvSequence> sequences;
      for (std::size_t s = 0; s < first_row.size(); ++s) {
        sequences.push_back(
            {first_row[s], batch_.lengths[s], batch_.starts[s], cache_->view(layer_, batch_.cache_slots[s])});
      }
      kernels::store_kv(sequences, k.matrix(), v.matrix());
      kernels::paged_attention(q.matrix(), sequences, shape, out.matrix());
      return out;
    }
    const auto one_sequence = [&](std::int64_t s) {
      const std::int64_t row = first_row[s], count = batch_.lengths[s];
      kernels::attention(q.matrix().rows_slice(row, count), k.matrix().rows_slice(row, count),
                         v.matrix().rows_slice(row, count), shape, out.matrix().rows_slice(row, count));
    };
    // Many sequences are shared out whole, few by heads and query tiles; the result is the same.
    const auto sequences = static_cast<std::int64_t>(batch_.lengths.size());
    if (sequences >= 4 * thread_count()) {
      parallel_for(sequences, one_sequence);
    } else {
      for (std::int64_t s = 0; s < sequences; ++s) one_sequence(s);
    }
    return out;
  }

  const Graph& graph_;
  const WeightTable& weights_;
  const Batch& batch_;
  ValueTable& values_;
  KvCache* cache_;
  int layer_;

  std::vector<std::int64_t> positions_;  // of each row of the batch
  std::vector<int> steps_;               // op indices, in order
  std::size_t step_ = 0;
  std::vector<std::size_t> last_use_;  // by value, the step
  std::vector<bool> keep_;             // by value: given by the caller, or asked for

  Fusion fusion_;
  Shared& executor_;
  ValueId integer_value_ = -1;    // whose int8 codes are in executor_.rows
  ValueId quantized_value_ = -1;  // whose quantized copy is held
  ActivationSpec quantized_spec_;
  Buffer quantized_;
};

class CoreExecutor final : public Executor {
 public:
  explicit CoreExecutor(const ExecutorOptions& options) { shared_.options = options; }
  Status evaluate(const Graph& graph, const WeightTable& weights, const Batch& batch, ValueTable& values,
                  std::span<const ValueId> targets, KvCache* cache, int layer) override {
    return Evaluation(shared_, graph, weights, batch, values, cache, layer).run(targets);
  }

 private:
  Shared shared_;
};

}  // namespace

std::unique_ptr<Executor> make_core_executor(const ExecutorOptions& options) {
  return std::make_unique<CoreExecutor>(options);
}

}  // namespace vernier
