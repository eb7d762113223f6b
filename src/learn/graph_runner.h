// Runs the one description of a model in libtorch: the same graphs as runtime/, on any device, with gradients.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <span>
#include <vector>

#include "arch/graph.h"
#include "formats/activation.h"
#include "runtime/executor.h"

namespace vernier::learn {

// The tensors of one graph on a device, by TensorId; any of them may require gradients.
struct TensorTable {
  std::vector<at::Tensor> tensors;
  std::map<int, ActivationSpec> activations;  // op index -> quantizer on its input
};

// Values of one graph, by ValueId; undefined where not known.
using TensorValues = std::vector<at::Tensor>;  // each [rows, width] f32

// Computes `targets` from what `values` holds; differentiable in every tensor and value. Values that were neither given
// nor asked for are dropped after their last use (autograd keeps what it needs). Errors: ids outside the vocabulary.
Status evaluate(const Graph& graph, const TensorTable& weights, const Batch& batch, TensorValues& values,
                std::span<const ValueId> targets, at::Device device);

// Quantizes and dequantizes x [rows, width]; the gradient passes straight through inside the range.
at::Tensor fake_quantize(const at::Tensor& x, const ActivationSpec& spec);

}  // namespace vernier::learn
