#include "methods/memory_block.h"

#include <algorithm>
#include <cmath>

#include "arch/architecture.h"
#include "base/random.h"
#include "methods/edge_trial.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

// A view of a master that stays valid while masters change.
std::shared_ptr<const WeightMatrix> view_of(const Tensor& master) { return dense_matrix(master.view(), nullptr); }

}  // namespace

MemoryBlock::MemoryBlock(const Json& config, const GridSpec& grid, std::int64_t sequences, std::int64_t length)
    : batch_(Batch::uniform(sequences, length)), executor_(make_core_executor()) {
  Result<ModelGraph> model = build_model_graph(config, "test");
  EXPECT_TRUE(model.ok()) << model.error().text();
  graph_ = std::move(model->blocks[0]);
  grid_ = *make_grid(grid);
  range_ = make_range({}).value();
  std::uint64_t seed = 1;
  for (const TensorRef& ref : graph_.tensors) {
    const Random random(seed++);
    Tensor& tensor = masters_.emplace_back(DType::f32, ref.shape);
    const std::span<float> values = tensor.as<float>();
    const bool norm_weight = ref.shape.rank() == 1 && ref.name.ends_with("weight");
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = (norm_weight ? 1.0f : 0.0f) + 0.2f * random.normal(i);
  }
  table_.matrices.resize(masters_.size());
  table_.vectors.resize(masters_.size());
  for (std::size_t i = 0; i < masters_.size(); ++i) EXPECT_TRUE(master_changed(static_cast<TensorId>(i)).ok());

  // A few channels are much larger than the rest, as in trained models.
  const Random random(0);
  input_ = Buffer(batch_.rows(), graph_.values[graph_.input].width);
  for (std::size_t i = 0; i < input_.data.size(); ++i)
    input_.data[i] = random.normal(i) * (i % input_.cols % 7 == 0 ? 8.0f : 1.0f);
}

Status MemoryBlock::master_changed(TensorId tensor) {
  const Tensor& master = masters_[tensor];
  if (master.shape().rank() == 2) {
    table_.matrices[tensor] = view_of(master);
  } else {
    Tensor copy(DType::f32, master.shape());
    std::ranges::copy(master.as<float>(), copy.as<float>().begin());
    table_.vectors[tensor] = std::make_shared<const Tensor>(std::move(copy));
  }
  return {};
}

Result<Capture> MemoryBlock::capture(std::span<const ValueId> values, std::int64_t max_tokens) {
  const std::int64_t length = batch_.lengths[0];
  const std::int64_t sequences =
      std::clamp<std::int64_t>(max_tokens / length, 1, static_cast<std::int64_t>(batch_.lengths.size()));
  Capture capture{Batch::uniform(sequences, length), ValueTable(graph_)};
  Buffer input(sequences * length, input_.cols);
  std::copy_n(input_.data.begin(), input.data.size(), input.data.begin());
  capture.values.set(graph_.input, std::move(input));
  VN_TRY(executor_->evaluate(graph_, table_, capture.batch, capture.values, values));
  return capture;
}

Buffer MemoryBlock::value(ValueId v) {
  Result<Capture> all = capture(std::span(&v, 1), batch_.rows());
  EXPECT_TRUE(all.ok()) << all.error().text();
  return all->values.take(v);
}

Result<std::vector<ChannelStats>> MemoryBlock::channel_stats(std::span<const ValueId> values) {
  std::vector<ChannelStats> stats;
  for (const ValueId v : values) {
    const Buffer x = value(v);
    const std::vector<float> zero(x.cols, 0.0f);
    ChannelStats& s = stats.emplace_back(ChannelStats{zero, zero, zero, zero, x.rows});
    for (std::int64_t r = 0; r < x.rows; ++r)
      for (std::int64_t c = 0; c < x.cols; ++c) {
        const float value = x.matrix()(r, c);
        s.absmax[c] = std::max(s.absmax[c], std::abs(value));
        s.mean_abs[c] += std::abs(value) / static_cast<float>(x.rows);
        s.min[c] = std::min(s.min[c], value);
        s.max[c] = std::max(s.max[c], value);
      }
  }
  return stats;
}

std::shared_ptr<const Grid> MemoryBlock::grid(int linear_op) const {
  return graph_.ops[linear_op].name.ends_with(".gate") ? nullptr : grid_;
}

std::optional<ActivationSpec> MemoryBlock::activation(int linear_op) const {
  return grid(linear_op) ? activations : std::nullopt;
}

int MemoryBlock::op(const std::string& suffix) const {
  for (std::size_t i = 0; i < graph_.ops.size(); ++i)
    if (graph_.ops[i].name.ends_with(suffix)) return static_cast<int>(i);
  ADD_FAILURE() << "no op " << suffix;
  return 0;
}

double MemoryBlock::quantized_error() {
  const Buffer wanted = output();
  WeightTable rounded = table_;
  for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
    const int op = static_cast<int>(i);
    if (graph_.ops[i].kind != OpKind::linear || !grid(op)) continue;
    const TensorId id = graph_.ops[i].weight;
    Tensor w(DType::f32, masters_[id].shape());
    quantize_dequantize(std::as_const(masters_[id]).matrix(), *grid_, *range_, w.matrix());
    rounded.matrices[id] = dense_matrix(std::move(w));
    if (activations) rounded.activations[op] = *activations;
  }
  ValueTable values(graph_);
  values.set(graph_.input, input_);
  const ValueId target = graph_.output;
  const Status status = executor_->evaluate(graph_, rounded, batch_, values, std::span(&target, 1));
  EXPECT_TRUE(status.ok());
  double sum = 0;
  for (std::size_t i = 0; i < wanted.data.size(); ++i) {
    const double d = static_cast<double>(values[target].data[i]) - wanted.data[i];
    sum += d * d;
  }
  return sum / static_cast<double>(wanted.data.size());
}

Json tiny_llama() {
  return Json::parse(R"({"model_type": "llama", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 1,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 32, "attention_bias": true,
    "mlp_bias": true, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})");
}

Json tiny_qwen3() {
  Json config = tiny_llama();
  config["model_type"] = "qwen3";
  config.erase("mlp_bias");
  return config;
}

Json tiny_opt() {
  return Json::parse(R"({"model_type": "opt", "hidden_size": 48, "ffn_dim": 80, "num_hidden_layers": 1,
    "num_attention_heads": 3, "vocab_size": 32, "max_position_embeddings": 64})");
}

Json tiny_mixtral() {
  return Json::parse(R"({"model_type": "mixtral", "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32, "num_local_experts": 3,
    "num_experts_per_tok": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})");
}

double relative_difference(const Buffer& a, const Buffer& b) {
  double most = 0, difference = 0;
  for (std::size_t i = 0; i < a.data.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a.data[i])));
    difference = std::max(difference, std::abs(static_cast<double>(a.data[i]) - b.data[i]));
  }
  return difference / most;
}

}  // namespace vernier::testing
