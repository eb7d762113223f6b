// Moving random factors along every edge that arch/edges.h finds leaves the logits where they were, for every golden
// checkpoint: norms, grouped value heads, gated and ReLU MLPs, routers and experts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "arch/edges.h"
#include "base/random.h"
#include "runtime/golden_models.h"
#include "runtime/reference_executor.h"
#include "support/support.h"
#include "tensor/convert.h"

namespace vernier::testing {
namespace {

// A source some of whose tensors are replaced.
class EditedSource : public ModelSource {
 public:
  explicit EditedSource(const ModelSource& base) : base_(base) { graph_ = base.graph(); }

  // The tensor as an f32 matrix to be edited in place; a vector is one row.
  Matrix<float> edit(const TensorRef& ref) {
    const auto [found, added] = edited_.try_emplace(ref.name, DType::f32, ref.shape);
    Tensor& tensor = found->second;
    if (added && ref.shape.rank() == 2)
      (*base_.matrix(ref.name))->decode_rows(0, ref.shape[0], tensor.as<float>().data());
    else if (added)
      tensor = base_.vector(ref.name).value();
    return tensor.matrix();
  }

  const std::vector<SourceTensor>& tensors() const override { return base_.tensors(); }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override {
    const auto found = edited_.find(name);
    if (found == edited_.end()) return base_.matrix(name);
    return dense_matrix(found->second.view(), nullptr);
  }
  Result<Tensor> vector(const std::string& name) const override {
    const auto found = edited_.find(name);
    if (found == edited_.end()) return base_.vector(name);
    return to_float_tensor(found->second.view(), name);
  }
  std::optional<ActivationSpec> activation(const std::string&) const override { return {}; }
  void release(const Graph&) const override {}

 private:
  const ModelSource& base_;
  std::map<std::string, Tensor> edited_;
};

void divide_producer(EditedSource& source, const Graph& graph, const ScaleEdge& edge,
                     const std::vector<float>& factors) {
  const Op& op = graph.ops[edge.producer];
  for (TensorId id : {op.weight, op.bias}) {
    if (id < 0) continue;
    const Matrix<float> m = source.edit(graph.tensors[id]);
    const bool by_row = graph.tensors[id].shape.rank() == 2;
    for (std::int64_t r = 0; r < m.rows; ++r)
      for (std::int64_t c = 0; c < m.cols; ++c) m(r, c) /= factors[by_row ? r : c];
  }
}

void multiply_consumers(EditedSource& source, const Graph& graph, const ScaleEdge& edge,
                        const std::vector<float>& factors) {
  for (int consumer : edge.consumers) {
    const Matrix<float> m = source.edit(graph.tensors[graph.ops[consumer].weight]);
    for (std::int64_t r = 0; r < m.rows; ++r)
      for (std::int64_t c = 0; c < m.cols; ++c) m(r, c) *= factors[edge.producer_channel[c]];
  }
}

float largest_difference(const Buffer& a, const Buffer& b) {
  float most = 0;
  for (std::size_t i = 0; i < a.data.size(); ++i) most = std::max(most, std::abs(a.data[i] - b.data[i]));
  return most;
}

class EdgeInvariance : public ::testing::TestWithParam<std::string> {};

TEST_P(EdgeInvariance, FactorsMoveWithoutATrace) {
  const GoldenCase golden = load_golden_case(GetParam());
  const auto source = open_checkpoint_source(golden.folder);
  VN_ASSERT_OK(source);
  const auto before = reference_logits(**source, golden.ids);
  VN_ASSERT_OK(before);

  EditedSource scaled(**source), broken(**source);
  const Random random(7);
  std::uint64_t draws = 0;
  int edges = 0;
  for (const Graph* graph : (*source)->graph().graphs())
    for (const ScaleEdge& edge : scale_edges(*graph)) {
      std::vector<float> factors(edge.channels);
      for (float& f : factors) f = static_cast<float>(0.5 + 1.5 * random.uniform(draws++));
      divide_producer(scaled, *graph, edge, factors);
      multiply_consumers(scaled, *graph, edge, factors);
      divide_producer(broken, *graph, edge, factors);
      ++edges;
    }
  ASSERT_GE(edges, 4);
  const auto after = reference_logits(scaled, golden.ids);
  VN_ASSERT_OK(after);
  EXPECT_LE(largest_difference(*before, *after), 1e-4f);
  const auto half_moved = reference_logits(broken, golden.ids);
  VN_ASSERT_OK(half_moved);
  EXPECT_GT(largest_difference(*before, *half_moved), 0.1f);
}

INSTANTIATE_TEST_SUITE_P(Architectures, EdgeInvariance, ::testing::ValuesIn(golden_case_names()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace vernier::testing
