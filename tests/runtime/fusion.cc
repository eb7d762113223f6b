#include "runtime/fusion.h"

#include "kernels/panel_fixtures.h"
#include "runtime/executor.h"
#include "runtime/tiny_model.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

// One block of a tiny model, its linears on packed panels.
struct PanelBlock {
  explicit PanelBlock(const Json& config) : model(config), graph(model.graph().blocks[0]) {
    weights = load_weights(model, graph).value();
    for (const Op& op : graph.ops) {
      if (op.kind != OpKind::linear) continue;
      auto& matrix = weights.matrices[op.weight];
      if (dynamic_cast<const PanelMatrix*>(matrix.get())) continue;
      packed.push_back(std::make_unique<Packed>(
          make({PanelKind::dual, 4, matrix->rows(), matrix->cols(), 32}, Values::random, packed.size() + 1)));
      matrix = packed.back()->matrix;
    }
  }

  std::vector<ValueId> outputs_of(OpKind kind) const {
    std::vector<ValueId> values;
    for (const Op& op : graph.ops)
      if (op.kind == kind) values.push_back(op.output);
    return values;
  }
  Fusion fusion(const std::vector<ValueId>& kept, bool integers = true) const {
    std::vector<bool> known(graph.values.size()), keep(graph.values.size());
    known[graph.input] = keep[graph.output] = true;
    for (const ValueId v : kept) keep[v] = true;
    return find_fusion(graph, required_ops(graph, known, {&graph.output, 1}), keep,
                       [&](int) { return integers ? std::optional(kernels::RowsFormat{.group = 32}) : std::nullopt; });
  }
  std::vector<float> run(std::vector<ValueId> targets) const {
    ValueTable values(graph);
    const Owned x = normal(23, graph.values[graph.input].width, 3);
    Buffer input(x.rows, x.cols);
    input.data = x.data;
    values.set(graph.input, input);
    targets.push_back(graph.output);
    const auto executor = make_core_executor({.int8_inputs = true});
    EXPECT_TRUE(executor->evaluate(graph, weights, Batch::uniform(1, 23), values, targets).ok());
    return values[graph.output].data;
  }

  TinyModel model;
  const Graph& graph;
  WeightTable weights;
  std::vector<std::unique_ptr<Packed>> packed;
};

TEST(Fusion, NormsAndProductsBeforeIntegerLinearsAreCodes) {
  const PanelBlock block(llama_config());
  const Fusion fusion = block.fusion({});
  for (const OpKind kind : {OpKind::rms_norm, OpKind::multiply}) {
    const auto values = block.outputs_of(kind);
    EXPECT_FALSE(values.empty());
    for (const ValueId v : values) EXPECT_TRUE(fusion.codes[v]) << block.graph.values[v].name;
  }
  for (const ValueId v : block.outputs_of(OpKind::silu)) EXPECT_TRUE(fusion.silu[v]);
  EXPECT_FALSE(fusion.codes[block.graph.output]);
}

TEST(Fusion, WhatSomebodyElseNeedsStaysInFloats) {
  const PanelBlock block(llama_config());
  const auto nothing = [](const std::vector<bool>& marks) {
    return std::find(marks.begin(), marks.end(), true) == marks.end();
  };
  EXPECT_TRUE(nothing(block.fusion({}, false).codes));
  for (const OpKind kind : {OpKind::rms_norm, OpKind::multiply}) {
    const auto kept = block.outputs_of(kind);
    const Fusion fusion = block.fusion(kept);
    for (const ValueId v : kept) EXPECT_FALSE(fusion.codes[v]);
  }
  EXPECT_TRUE(nothing(block.fusion(block.outputs_of(OpKind::silu)).silu));
}

TEST(Fusion, GivesTheBitsOfTheSingleSteps) {
  for (const Json& config : {llama_config(), mistral_config(), mixtral_config()}) {
    const PanelBlock block(config);
    std::vector<ValueId> every;
    for (const OpKind kind : {OpKind::rms_norm, OpKind::multiply, OpKind::silu}) {
      for (const ValueId v : block.outputs_of(kind)) every.push_back(v);
    }
    EXPECT_EQ(block.run({}), block.run(every));
  }
}

}  // namespace
}  // namespace vernier::testing
