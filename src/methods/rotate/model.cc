#include "methods/rotate/model.h"

#include <cmath>

#include "arch/edges.h"
#include "base/fail.h"
#include "base/random.h"

namespace vernier {
namespace {

const Op& op_of(const ModelGraph& model, const OpSite& site) { return model.graphs()[site.graph]->ops[site.op]; }

const std::string& tensor_name(const ModelGraph& model, const OpSite& site, TensorId id) {
  return model.graphs()[site.graph]->tensors[id].name;
}

Result<std::vector<double>> norm_weight(const ModelSource& base, const Op& norm, const std::string& name) {
  VN_ASSIGN(const Tensor weight, base.vector(name));
  std::vector<double> values(weight.as<float>().begin(), weight.as<float>().end());
  for (double& v : values) v += norm.unit_offset;
  return values;
}

// The bias that a norm without weight adds after the rotation, when its readers have taken the weight.
Result<std::vector<double>> inverse_weight(const ModelSource& base, const Op& norm, const std::string& bias_name,
                                           const std::vector<double>& weight) {
  VN_ASSIGN(const Tensor bias, base.vector(bias_name));
  std::vector<double> inverse(weight.size(), 1.0);
  for (std::size_t j = 0; j < weight.size(); ++j) {
    if (weight[j] != 0)
      inverse[j] = 1 / weight[j];
    else if (bias.as<float>()[j] != 0)
      return fail(ErrorCode::unsupported,
                  "{}: {}: weight {} is 0 and its bias {} is not, which no rotation can express", base.path(),
                  norm.name, j, bias.as<float>()[j]);
  }
  return inverse;
}

Status fold_norm(const ModelSource& base, const ResidualStream::Norm& site, const OrthogonalPtr& q,
                 TensorRewrites& rewrites) {
  const ModelGraph& model = base.graph();
  const Op& norm = op_of(model, site.norm);
  std::vector<double> weight;
  if (norm.weight >= 0) {
    const std::string& name = tensor_name(model, site.norm, norm.weight);
    VN_ASSIGN(weight, norm_weight(base, norm, name));
    rewrites[name].constant = 1 - norm.unit_offset;
  }
  if (norm.bias >= 0) {
    const std::string& name = tensor_name(model, site.norm, norm.bias);
    TensorRewrite& rewrite = rewrites[name];
    if (!weight.empty()) {
      VN_ASSIGN(rewrite.column_scale, inverse_weight(base, norm, name, weight));
    }
    rewrite.right = q;
  }
  for (const OpSite& reader : site.readers) {
    const Op& op = op_of(model, reader);
    // A tied head turns as a reader under a name of its own; the embedding's rows turn as a table.
    const bool tied = model.tied_head && &op == &model.head.ops.back();
    TensorRewrite& rewrite = rewrites[tied ? own_head_weight(model) : tensor_name(model, reader, op.weight)];
    rewrite.column_scale = weight;
    rewrite.right = q;
  }
  return {};
}

}  // namespace

Status rotate_residual(const ModelSource& base, const ResidualStream& stream, const OrthogonalPtr& q,
                       TensorRewrites& rewrites) {
  const ModelGraph& model = base.graph();
  if (q->size() != model.hidden)
    return fail(ErrorCode::mismatch, "{}: a rotation of size {}, the hidden state has {}", base.path(), q->size(),
                model.hidden);
  for (const ResidualStream::Norm& norm : stream.norms) VN_TRY(fold_norm(base, norm, q, rewrites));
  for (const OpSite& site : stream.readers) rewrites[tensor_name(model, site, op_of(model, site).weight)].right = q;
  for (const OpSite& site : stream.tables) rewrites[tensor_name(model, site, op_of(model, site).weight)].right = q;
  for (const OpSite& site : stream.writers) {
    const Op& op = op_of(model, site);
    rewrites[tensor_name(model, site, op.weight)].left = q;
    if (op.bias >= 0) rewrites[tensor_name(model, site, op.bias)].right = q;
  }
  return {};
}

Status rotate_values(const ModelSource& base, std::uint64_t seed, TensorRewrites& rewrites) {
  const ModelGraph& model = base.graph();
  for (std::size_t b = 0; b < model.blocks.size(); ++b) {
    const Graph& block = model.blocks[b];
    VN_ASSIGN(const OrthogonalPtr q, random_rotation(model.head_dim, Random(seed).bits(b)));
    for (const ScaleEdge& edge : scale_edges(block)) {
      if (edge.kind != ScaleEdge::Kind::value) continue;
      const Op& v = block.ops[edge.producer];
      rewrites[block.tensors[v.weight].name].left = q;
      if (v.bias >= 0) rewrites[block.tensors[v.bias].name].right = q;
      for (const int reader : edge.consumers) rewrites[block.tensors[block.ops[reader].weight].name].right = q;
    }
  }
  return {};
}

}  // namespace vernier
