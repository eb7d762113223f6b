// The libtorch executor against the core one, and its gradients against finite differences.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "arch/architecture.h"
#include "base/random.h"
#include "containers/container.h"
#include "learn/graph_runner.h"
#include "pipeline/learn_plugin.h"
#include "support/support.h"

namespace vernier {
namespace {

std::vector<TokenId> some_ids(std::int64_t count, std::int64_t vocab) {
  const Random random(11);
  std::vector<TokenId> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(random.below(i, vocab)));
  return ids;
}

// Logits of two sequences of different lengths.
Buffer logits(const ModelSource& source, Executor& executor, std::span<const TokenId> ids) {
  Batch batch;
  batch.lengths = {static_cast<std::int64_t>(ids.size()) - 5, 5};
  batch.starts = {0, 0};
  batch.ids = ids;
  Buffer hidden;
  for (const Graph* graph : source.graph().graphs()) {
    auto weights = load_weights(source, *graph);
    EXPECT_TRUE(weights.ok()) << weights.error().text();
    ValueTable values(*graph);
    if (graph->input >= 0) values.set(graph->input, std::move(hidden));
    const ValueId target = graph->output;
    const Status status = executor.evaluate(*graph, *weights, batch, values, {&target, 1});
    EXPECT_TRUE(status.ok()) << status.error().text();
    hidden = values.take(target);
  }
  return hidden;
}

class Architectures : public ::testing::TestWithParam<std::string> {};

TEST_P(Architectures, AgreeWithTheCoreExecutor) {
  auto source = open_model(GetParam());
  VN_ASSERT_OK(source);
  const auto ids = some_ids(24, (*source)->graph().vocab);
  const auto core = make_core_executor();
  auto torch = make_device_executor("torch");
  VN_ASSERT_OK(torch);
  const Buffer a = logits(**source, *core, ids), b = logits(**source, **torch, ids);
  ASSERT_EQ(a.data.size(), b.data.size());
  for (std::size_t i = 0; i < a.data.size(); ++i) ASSERT_NEAR(a.data[i], b.data[i], 1e-4) << i;
}

std::vector<std::string> models() {
  std::vector<std::string> found{testing::bundled_model()};
  for (const auto& entry : std::filesystem::directory_iterator(testing::source_dir() + "/tests/golden/architectures")) {
    if (entry.is_directory()) found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}
INSTANTIATE_TEST_SUITE_P(Golden, Architectures, ::testing::ValuesIn(models()), [](const auto& info) {
  std::string name = info.param.substr(info.param.rfind('/') + 1);
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

TEST(Gradients, MatchFiniteDifferences) {
  auto source = open_model(testing::source_dir() + "/tests/golden/architectures/qwen3");
  VN_ASSERT_OK(source);
  const Graph& block = (*source)->graph().blocks[0];
  auto weights = load_weights(**source, block);
  VN_ASSERT_OK(weights);
  learn::TensorTable table;
  for (std::size_t t = 0; t < block.tensors.size(); ++t) {
    at::Tensor tensor;
    if (const auto& matrix = weights->matrices[t]) {
      tensor = at::empty({matrix->rows(), matrix->cols()}, at::kFloat);
      matrix->decode_rows(0, matrix->rows(), tensor.mutable_data_ptr<float>());
    } else {
      const auto values = weights->vectors[t]->as<float>();
      tensor = at::from_blob(const_cast<float*>(values.data()), {static_cast<std::int64_t>(values.size())}, at::kFloat)
                   .clone();
    }
    table.tensors.push_back(tensor.to(at::kDouble));
  }
  at::manual_seed(3);
  const Batch batch = Batch::uniform(1, 6);
  const at::Tensor input = at::randn({6, (*source)->graph().hidden}, at::kDouble);
  const at::Tensor direction = at::randn_like(input);
  const auto loss = [&] {
    learn::TensorValues values(block.values.size());
    values[block.input] = input;
    const ValueId target = block.output;
    EXPECT_TRUE(learn::evaluate(block, table, batch, values, {&target, 1}, at::kCPU).ok());
    return (values[target] * direction).sum();
  };
  for (std::size_t t = 0; t < table.tensors.size(); ++t) {
    at::Tensor& tensor = table.tensors[t];
    tensor.requires_grad_(true);
    loss().backward();
    const at::Tensor probe = at::randn_like(tensor);
    const double analytic = (tensor.grad() * probe).sum().item<double>();
    const at::Tensor original = tensor.detach().clone();
    constexpr double step = 1e-5;
    tensor = original + step * probe;
    const double above = loss().item<double>();
    tensor = original - step * probe;
    const double below = loss().item<double>();
    tensor = original;
    EXPECT_NEAR((above - below) / (2 * step), analytic, 2e-5 * (1 + std::abs(analytic))) << block.tensors[t].name;
  }
}

TEST(Gradients, PassStraightThroughTheActivationQuantizer) {
  ActivationSpec spec;
  at::Tensor x = at::linspace(-1, 1, 64).reshape({4, 16}).requires_grad_(true);
  learn::fake_quantize(x, spec).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), at::ones_like(x)));
  EXPECT_LT((learn::fake_quantize(x, spec) - x).abs().max().item<float>(), 1.0f / 127);
}

TEST(Devices, UnknownOnesAreRefused) {
  const auto executor = make_device_executor("warp:9");
  ASSERT_FALSE(executor.ok());
  EXPECT_EQ(executor.error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace vernier
