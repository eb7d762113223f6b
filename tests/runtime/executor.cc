#include "runtime/executor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "base/threads.h"
#include "kernels/ops.h"
#include "runtime/generate.h"
#include "runtime/tiny_model.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

Buffer normal(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Buffer b(rows, cols);
  for (std::size_t i = 0; i < b.data.size(); ++i) b.data[i] = Random(seed).normal(i);
  return b;
}

std::vector<TokenId> token_ids(std::int64_t count, std::uint64_t seed) {
  std::vector<TokenId> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(Random(seed).below(i, 61)));
  return ids;
}

ValueId value_named(const Graph& graph, const std::string& ending) {
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    if (graph.values[v].name.ends_with(ending)) return static_cast<ValueId>(v);
  }
  ADD_FAILURE() << "no value " << ending;
  return 0;
}

const Op& producer(const Graph& graph, ValueId value) {
  for (const Op& op : graph.ops) {
    if (op.output == value) return op;
  }
  ADD_FAILURE() << "nothing makes " << graph.values[value].name;
  return graph.ops[0];
}

void expect_near(const Buffer& found, const Buffer& wanted, float tolerance) {
  ASSERT_EQ(found.rows, wanted.rows);
  ASSERT_EQ(found.cols, wanted.cols);
  for (std::size_t i = 0; i < found.data.size(); ++i)
    ASSERT_NEAR(found.data[i], wanted.data[i], tolerance * (1 + std::fabs(wanted.data[i]))) << i;
}

// One block of a tiny llama with its weights.
struct Block {
  TinyModel model{llama_config()};
  const Graph& graph = model.graph().blocks[0];
  WeightTable weights = load_weights(model, graph).value();
  std::unique_ptr<Executor> executor = make_core_executor();

  Status evaluate(const Batch& batch, ValueTable& values, std::vector<ValueId> targets) {
    return executor->evaluate(graph, weights, batch, values, targets);
  }
};

TEST(RequiredOps, AreThoseBetweenKnownValuesAndTargets) {
  GraphBuilder b("g");
  const ValueId x = b.input("x", 4);
  const ValueId a = b.linear("a", x, 4, false);
  const ValueId side = b.unary(OpKind::relu, "side", x);
  const ValueId c = b.unary(OpKind::silu, "c", a);
  const ValueId sum = b.binary(OpKind::add, "sum", c, x);
  const Graph graph = b.finish(sum);
  const auto ops = [&](std::vector<ValueId> known, std::vector<ValueId> targets) {
    std::vector<bool> flags(graph.values.size(), false);
    for (ValueId v : known) flags[v] = true;
    return required_ops(graph, flags, targets);
  };
  EXPECT_EQ(ops({x}, {sum}), (std::vector<int>{0, 2, 3}));
  EXPECT_EQ(ops({x, a}, {sum}), (std::vector<int>{2, 3}));
  EXPECT_EQ(ops({x}, {side, c}), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(ops({x, sum}, {sum}), (std::vector<int>{}));
}

TEST(CoreExecutor, KeepsWhatWasGivenOrAskedForAndNothingElse) {
  Block block;
  const Graph& graph = block.graph;
  const ValueId gate = value_named(graph, "gate_proj"), attention = value_named(graph, "self_attn.o_proj");
  ValueTable values(graph);
  values.set(graph.input, normal(6, 32, 1));
  VN_ASSERT_OK(block.evaluate(Batch::uniform(2, 3), values, {gate, attention}));
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    const auto id = static_cast<ValueId>(v);
    EXPECT_EQ(values.has(id), id == graph.input || id == gate || id == attention) << graph.values[v].name;
  }
  EXPECT_EQ(values[graph.input].data, normal(6, 32, 1).data);
}

TEST(CoreExecutor, ContinuesFromGivenValues) {
  Block block;
  const Graph& graph = block.graph;
  ValueTable whole(graph);
  whole.set(graph.input, normal(5, 32, 2));
  VN_ASSERT_OK(block.evaluate(Batch::uniform(1, 5), whole, {graph.output}));

  // In two steps, as the pipeline does: the input of o_proj first, then the rest.
  const ValueId middle = producer(graph, value_named(graph, "self_attn.o_proj")).inputs[0];
  ValueTable steps(graph);
  steps.set(graph.input, normal(5, 32, 2));
  VN_ASSERT_OK(block.evaluate(Batch::uniform(1, 5), steps, {middle}));
  VN_ASSERT_OK(block.evaluate(Batch::uniform(1, 5), steps, {graph.output}));
  EXPECT_EQ(steps[graph.output].data, whole[graph.output].data);

  // A given value is believed, not recomputed.
  ValueTable changed(graph);
  changed.set(graph.input, normal(5, 32, 2));
  changed.set(middle, Buffer(5, 32));
  VN_ASSERT_OK(block.evaluate(Batch::uniform(1, 5), changed, {graph.output}));
  EXPECT_NE(changed[graph.output].data, whole[graph.output].data);
}

TEST(CoreExecutor, SequencesOfABatchDoNotSeeEachOther) {
  Block block;
  const Graph& graph = block.graph;
  const Buffer x = normal(40, 32, 3);
  Batch batch = Batch::uniform(3, 0);
  batch.lengths = {17, 1, 22};
  ValueTable together(graph);
  together.set(graph.input, x);
  VN_ASSERT_OK(block.evaluate(batch, together, {graph.output}));
  std::int64_t row = 0;
  for (std::int64_t length : batch.lengths) {
    Buffer part(length, 32);
    std::copy_n(x.data.begin() + row * 32, length * 32, part.data.begin());
    ValueTable alone(graph);
    alone.set(graph.input, part);
    VN_ASSERT_OK(block.evaluate(Batch::uniform(1, length), alone, {graph.output}));
    Buffer wanted(length, 32);
    std::copy_n(together[graph.output].data.begin() + row * 32, length * 32, wanted.data.begin());
    expect_near(alone[graph.output], wanted, 1e-5f);
    row += length;
  }
}

TEST(CoreExecutor, SameBitsAtAnyThreadCount) {
  for (const Json& config : {llama_config(), mistral_config(), mixtral_config()}) {
    const TinyModel model(config);
    const Graph& graph = model.graph().blocks[0];
    const WeightTable weights = load_weights(model, graph).value();
    std::vector<float> first;
    for (int threads : {1, 2, 3}) {
      set_thread_count(threads);
      ValueTable values(graph);
      values.set(graph.input, normal(14 * 9, 32, 4));
      VN_ASSERT_OK(make_core_executor()->evaluate(graph, weights, Batch::uniform(14, 9), values, {&graph.output, 1}));
      if (threads == 1) first = values[graph.output].data;
      EXPECT_EQ(values[graph.output].data, first) << threads << " threads";
    }
  }
  set_thread_count(0);
}

TEST(CoreExecutor, QuantizesTheInputsOfLinears) {
  Block block;
  const Graph& graph = block.graph;
  const ValueId gate = value_named(graph, "gate_proj"), up = value_named(graph, "up_proj");
  const ValueId norm = producer(graph, gate).inputs[0];
  const ActivationSpec coarse{.bits = 3}, fine{.bits = 8};
  const auto op_index = [&](ValueId v) { return static_cast<int>(&producer(graph, v) - graph.ops.data()); };
  block.weights.activations = {{op_index(gate), coarse}, {op_index(up), fine}};
  ValueTable values(graph);
  values.set(norm, normal(4, 32, 5));
  VN_ASSERT_OK(block.evaluate(Batch::uniform(1, 4), values, {gate, up}));
  EXPECT_EQ(values[norm].data, normal(4, 32, 5).data);
  for (const auto& [value, spec] : {std::pair{gate, coarse}, std::pair{up, fine}}) {
    Buffer x = normal(4, 32, 5), y(4, 48);
    kernels::fake_quantize(x.matrix(), spec);
    kernels::linear(x.matrix(), *block.weights.matrices[producer(graph, value).weight], {}, y.matrix());
    EXPECT_EQ(values[value].data, y.data);
  }
}

TEST(CoreExecutor, RefusesWhatDoesNotFitTogether) {
  Block block;
  const Graph& graph = block.graph;
  ValueTable empty(graph);
  auto status = block.evaluate(Batch::uniform(1, 3), empty, {graph.output});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("was not given"), std::string::npos) << status.error().text();

  ValueTable short_by_one(graph);
  short_by_one.set(graph.input, normal(2, 32, 1));
  status = block.evaluate(Batch::uniform(1, 3), short_by_one, {graph.output});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::mismatch);

  Batch later = Batch::uniform(1, 2);
  later.starts = {7};
  ValueTable values(graph);
  values.set(graph.input, normal(2, 32, 1));
  status = block.evaluate(later, values, {graph.output});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("without a KV cache"), std::string::npos) << status.error().text();

  KvCache cache(block.model.graph(), 1, 4);
  later.cache_slots = {0};
  status = block.executor->evaluate(graph, block.weights, later, values, {&graph.output, 1}, &cache, 0);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("outside of a KV cache"), std::string::npos) << status.error().text();
}

TEST(CoreExecutor, RefusesTokensOutsideOfTheVocabulary) {
  const TinyModel model(llama_config());
  const auto forward = Forward::open(model, false);
  VN_ASSERT_OK(forward);
  for (TokenId id : {-1, 61}) {
    const std::vector<TokenId> ids = {3, id};
    Batch batch = Batch::uniform(1, 2);
    batch.ids = ids;
    const auto hidden = (*forward)->hidden(batch);
    ASSERT_FALSE(hidden.ok());
    EXPECT_NE(hidden.error().message.find("token id"), std::string::npos);
  }
}

TEST(LoadWeights, RefusesAShapeThatContradictsTheConfig) {
  TinyModel model(llama_config());
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  model.shapes.at(name) = {32, 47};
  const auto forward = Forward::open(model, false);
  ASSERT_FALSE(forward.ok());
  EXPECT_EQ(forward.error().code, ErrorCode::mismatch);
  EXPECT_NE(forward.error().message.find(name), std::string::npos);
  EXPECT_NE(forward.error().message.find("[32, 48]"), std::string::npos);
  EXPECT_NE(forward.error().message.find("[32, 47]"), std::string::npos);
}

TEST(LoadWeights, CollectsQuantizersByOp) {
  TinyModel model(llama_config());
  const Graph& graph = model.graph().blocks[0];
  model.activations["model.layers.0.mlp.up_proj.weight"] = {.bits = 6};
  const auto weights = load_weights(model, graph);
  VN_ASSERT_OK(weights);
  ASSERT_EQ(weights->activations.size(), 1u);
  EXPECT_EQ(graph.ops[weights->activations.begin()->first].name, "model.layers.0.mlp.up_proj");
}

// Feeding pieces through the cache equals one forward pass, whatever the pieces and the window.
TEST(KvCache, PiecesEqualTheWhole) {
  for (const Json& config : {llama_config(), mistral_config(), mixtral_config()}) {
    SCOPED_TRACE(config["model_type"].dump());
    const TinyModel model(config);
    const auto opened = Forward::open(model, false);
    VN_ASSERT_OK(opened);
    Forward& forward = **opened;
    const std::vector<TokenId> a = token_ids(23, 1), b = token_ids(23, 2);
    const auto whole = [&](const std::vector<TokenId>& ids) {
      Batch batch = Batch::uniform(1, 23);
      batch.ids = ids;
      return forward.hidden(batch).value();
    };
    const Buffer wanted_a = whole(a), wanted_b = whole(b);

    // Two sequences in two slots of one cache, advancing by different steps in the same batches.
    KvCache cache(model.graph(), 2, 23);
    std::int64_t at_a = 0, at_b = 0;
    for (const auto& [step_a, step_b] : {std::pair<int, int>{11, 1}, {1, 1}, {1, 19}, {10, 2}}) {
      Batch batch;
      batch.lengths = {step_b, step_a};
      batch.starts = {at_b, at_a};
      batch.cache_slots = {1, 0};
      std::vector<TokenId> ids(b.begin() + at_b, b.begin() + at_b + step_b);
      ids.insert(ids.end(), a.begin() + at_a, a.begin() + at_a + step_a);
      batch.ids = ids;
      const auto hidden = forward.hidden(batch, &cache);
      VN_ASSERT_OK(hidden);
      for (std::int64_t i = 0; i < (step_a + step_b) * 32; ++i) {
        const float wanted =
            i < step_b * 32 ? wanted_b.data[at_b * 32 + i] : wanted_a.data[at_a * 32 + i - step_b * 32];
        ASSERT_NEAR(hidden->data[i], wanted, 1e-5 * (1 + std::fabs(wanted)));
      }
      at_a += step_a;
      at_b += step_b;
    }
    ASSERT_EQ(at_a, 23);
    ASSERT_EQ(at_b, 23);
  }
}

TEST(Forward, StreamsOneGraphAtATime) {
  const TinyModel model(llama_config());
  const auto forward = Forward::open(model, true);
  VN_ASSERT_OK(forward);
  model.released.clear();
  const std::vector<TokenId> ids = token_ids(4, 1);
  Batch batch = Batch::uniform(1, 4);
  batch.ids = ids;
  const auto hidden = (*forward)->hidden(batch);
  VN_ASSERT_OK(hidden);
  VN_ASSERT_OK((*forward)->logits(*hidden));
  std::vector<std::string> wanted;
  for (const Graph* graph : model.graph().graphs()) wanted.push_back(graph->name);
  EXPECT_EQ(model.released, wanted);
}

}  // namespace
}  // namespace vernier::testing
