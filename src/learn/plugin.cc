// What vernier_learn shows the core library: an Executor on libtorch, for devices the core one does not reach.
#include "pipeline/learn_plugin.h"

#include <ATen/Context.h>
#include <c10/core/GradMode.h>
#include <torch/version.h>

#include <unordered_map>

#include "base/fail.h"
#include "learn/graph_runner.h"
#include "vernier/version.h"

namespace vernier::learn {
namespace {

at::Tensor to_device(Matrix<const float> values, at::Device device) {
  return at::from_blob(const_cast<float*>(values.data), {values.rows, values.cols}, at::kFloat)
      .to(device, /*non_blocking=*/false, /*copy=*/true);
}

class TorchExecutor : public Executor {
 public:
  explicit TorchExecutor(at::Device device) : device_(device) {}

  Status evaluate(const Graph& graph, const WeightTable& weights, const Batch& batch, ValueTable& values,
                  std::span<const ValueId> targets, KvCache* cache, int) override {
    if (cache) return fail(ErrorCode::unsupported, "{}: generation with a cache runs on --device cpu", graph.name);
    const c10::NoGradGuard no_gradients;
    std::vector<bool> known(graph.values.size());
    TensorValues device_values(graph.values.size());
    for (ValueId v = 0; v < static_cast<ValueId>(known.size()); ++v) known[v] = values.has(v);
    TensorTable table{std::vector<at::Tensor>(graph.tensors.size()), weights.activations};
    const std::vector<int> needed = required_ops(graph, known, targets);
    try {
      for (const int index : needed) {
        const Op& op = graph.ops[index];
        for (const ValueId v : op.inputs) {
          if (known[v] && !device_values[v].defined()) device_values[v] = to_device(values[v].matrix(), device_);
        }
        for (const TensorId t : {op.weight, op.bias}) {
          if (t >= 0) table.tensors[t] = tensor(weights, t);
        }
      }
    } catch (const c10::Error& problem) {
      return fail(ErrorCode::over_budget, "{}: {}", graph.name, problem.what_without_backtrace());
    }
    VN_TRY(learn::evaluate(graph, table, batch, device_values, targets, device_));
    for (const ValueId target : targets) {
      if (values.has(target)) continue;
      const at::Tensor host = device_values[target].to(at::kCPU).contiguous();
      Buffer buffer(host.size(0), host.size(1));
      std::copy_n(host.const_data_ptr<float>(), buffer.data.size(), buffer.data.begin());
      values.set(target, std::move(buffer));
    }
    return {};
  }

 private:
  // Weights stay on the device while somebody still holds the matrix they came from.
  at::Tensor tensor(const WeightTable& weights, TensorId id) {
    if (weights.vectors[id]) {
      const auto& vector = *weights.vectors[id];
      return to_device({vector.as<float>().data(), 1, vector.shape().elements()}, device_).reshape({-1});
    }
    const auto& matrix = weights.matrices[id];
    std::erase_if(resident_, [](const auto& entry) { return entry.second.owner.expired(); });
    Resident& slot = resident_[matrix.get()];
    if (!slot.values.defined()) {
      at::Tensor host = at::empty({matrix->rows(), matrix->cols()}, at::kFloat);
      matrix->decode_rows(0, matrix->rows(), host.mutable_data_ptr<float>());
      slot = {matrix, host.to(device_)};
    }
    return slot.values;
  }

  struct Resident {
    std::weak_ptr<const WeightMatrix> owner;
    at::Tensor values;
  };
  at::Device device_;
  std::unordered_map<const WeightMatrix*, Resident> resident_;
};

std::unique_ptr<Executor> make_executor(const std::string& device, std::string& problem) {
  try {
    const at::Device parsed(device == "torch" ? "cpu" : device);
    at::empty({1}, at::TensorOptions().device(parsed));
    return std::make_unique<TorchExecutor>(parsed);
  } catch (const c10::Error& error) {
    problem = error.what_without_backtrace();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  return nullptr;
}

std::string describe() { return fmt::format("libtorch {}, {}", TORCH_VERSION, at::hasCUDA() ? "CUDA" : "CPU only"); }

const LearnPlugin plugin{version(), make_executor, describe};

}  // namespace
}  // namespace vernier::learn

extern "C" __attribute__((visibility("default"))) const vernier::LearnPlugin* vernier_learn_plugin() {
  return &vernier::learn::plugin;
}
