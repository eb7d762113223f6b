// A model whose tensors are rewritten as they are read: norms folded, rows and columns scaled, values rotated. Whoever
// reads it (an executor, a quantizer, a writer of files) needs no other code than for the model on disk, and never
// holds more than the tensors it asked for. Rewrites in double, results in f32; the same bits at any thread count.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/source.h"
#include "methods/orthogonal.h"

namespace vernier {

// A matrix becomes diag(row_scale) left^T (W diag(column_scale)) right; slices of left->size() rows and right->size()
// columns turn one by one. A vector is a row: column_scale, then right. Empty or null: left out.
struct TensorRewrite {
  std::string from;  // the tensor it is made of; empty: the one of its own name
  std::vector<double> column_scale, row_scale;
  OrthogonalPtr left, right;
  std::optional<float> constant;  // a vector of this value instead
};
using TensorRewrites = std::map<std::string, TensorRewrite>;  // by tensor name

// `base` is a float model. `untie`: the head gets a weight of its own, made of the
// embedding's; config and graph say so. Unsupported: a quantized base.
Result<std::unique_ptr<ModelSource>> rewritten_source(std::shared_ptr<const ModelSource> base, TensorRewrites rewrites,
                                                      bool untie);

// The name that the head's weight has, or would have in an untied model.
std::string own_head_weight(const ModelGraph& model);

}  // namespace vernier
