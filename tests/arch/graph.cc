// The rules of graphs: each one broken once.
#include "arch/graph.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "arch/decoder.h"
#include "support/support.h"

namespace vernier {
namespace {

constexpr std::int64_t kWidth = 16, kHeads = 4, kKvHeads = 2, kHeadDim = 4, kExperts = 3, kTopK = 2;

// A block with every op but the embeddings.
Graph sample_block() {
  GraphBuilder b("block");
  const ValueId x = b.input("block.input", kWidth);
  const ValueId n = b.rms_norm("norm", x, 1e-5f);
  ValueId q = b.linear("q", n, kWidth, true);
  q = b.rms_norm("q_norm", q, 1e-5f, kHeadDim);
  q = b.op({.kind = OpKind::rope, .name = "q_rope", .heads = kHeads, .head_dim = kHeadDim, .rope = {{1.f, .1f}}}, {q},
           kWidth);
  const ValueId k = b.linear("k", n, kKvHeads * kHeadDim, false);
  const ValueId v = b.linear("v", n, kKvHeads * kHeadDim, false);
  const ValueId a = attend(b, "attn", q, k, v, kHeads, kKvHeads, 3);
  const ValueId h = b.binary(OpKind::add, "residual", x, b.linear("o", a, kWidth, false));
  const ValueId m = b.layer_norm("norm2", h, 1e-5f);
  const ValueId routing = b.op({.kind = OpKind::route, .name = "route", .experts = kExperts, .top_k = kTopK},
                               {b.linear("gate", m, kExperts, false)}, 2 * kTopK);
  std::vector<ValueId> parts{routing};
  for (std::int32_t e = 0; e < kExperts; ++e) {
    const std::string name = "expert" + std::to_string(e);
    const ValueId rows =
        b.op({.kind = OpKind::gather, .name = name + ".gather", .expert = e, .top_k = kTopK}, {m, routing}, kWidth, e);
    parts.push_back(gated_mlp(b, name, rows, 8, false));
  }
  const ValueId y =
      b.op({.kind = OpKind::combine, .name = "combine", .experts = kExperts, .top_k = kTopK}, parts, kWidth);
  return b.finish(b.binary(OpKind::add, "residual2", h, y));
}

Op& find(Graph& graph, const std::string& name) {
  for (Op& op : graph.ops)
    if (op.name == name) return op;
  ADD_FAILURE() << "no op " << name;
  return graph.ops[0];
}

TEST(Graph, SampleIsValid) { VN_EXPECT_OK(sample_block().validate()); }

TEST(Graph, BuilderCarriesWidthsAndExperts) {
  const Graph graph = sample_block();
  for (const Op& op : graph.ops) {
    EXPECT_EQ(graph.values[op.output].name, op.name);
    const bool of_expert = op.name.starts_with("expert");
    EXPECT_EQ(graph.values[op.output].expert >= 0, of_expert) << op.name;
  }
}

struct Break {
  const char* what;  // part of the error
  const char* op;    // the op named in the error, or ""
  std::function<void(Graph&)> apply;
};

TEST(Graph, EveryBrokenRuleIsNamed) {
  const std::vector<Break> breaks = {
      {"used twice", "k", [](Graph& g) { find(g, "v").name = find(g, "k").name; }},
      {"before it is defined", "q", [](Graph& g) { find(g, "q").inputs[0] = find(g, "o").output; }},
      {"before it is defined", "q", [](Graph& g) { find(g, "q").inputs[0] = 9999; }},
      {"before it is defined", "q", [](Graph& g) { find(g, "q").inputs[0] = -1; }},
      {"a second time", "v", [](Graph& g) { find(g, "v").output = find(g, "k").output; }},
      {"takes 1 inputs, found 2", "q", [](Graph& g) { find(g, "q").inputs.push_back(0); }},
      {"has no weight", "q", [](Graph& g) { find(g, "q").weight = -1; }},
      {"takes no weight", "residual", [](Graph& g) { find(g, "residual").weight = 0; }},
      {"takes no bias", "norm", [](Graph& g) { find(g, "norm").bias = 0; }},
      {"refers to tensor 9999", "q", [](Graph& g) { find(g, "q").bias = 9999; }},
      {"wanted [16, 16]", "q",
       [](Graph& g) {
         g.tensors[find(g, "q").weight].shape = {16, 8};
       }},
      {"wanted [16]", "q", [](Graph& g) { g.tensors[find(g, "q").bias].shape = {8}; }},
      {"wanted [4]", "q_norm", [](Graph& g) { g.tensors[find(g, "q_norm").weight].shape = {16}; }},
      {"do not divide", "q_norm", [](Graph& g) { find(g, "q_norm").slice = 5; }},
      {"eps is", "norm2", [](Graph& g) { find(g, "norm2").eps = -1; }},
      {"heads * head_dim is 8", "q_rope", [](Graph& g) { find(g, "q_rope").heads = 2; }},
      {"a frequency is inf", "q_rope", [](Graph& g) { find(g, "q_rope").rope.inverse_frequency[0] = INFINITY; }},
      {"frequencies", "q_rope", [](Graph& g) { find(g, "q_rope").rope.inverse_frequency.pop_back(); }},
      {"do not divide", "attn.attention", [](Graph& g) { find(g, "attn.attention").kv_heads = 3; }},
      {"do not divide", "attn.attention", [](Graph& g) { find(g, "attn.attention").kv_heads = 0; }},
      {"key width", "attn.attention", [](Graph& g) { find(g, "attn.attention").kv_heads = 1; }},
      {"window", "attn.attention", [](Graph& g) { find(g, "attn.attention").window = -1; }},
      {"scale", "attn.attention", [](Graph& g) { find(g, "attn.attention").scale = 0; }},
      {"router width", "route", [](Graph& g) { find(g, "route").experts = 4; }},
      {"picks 4 of 3", "route", [](Graph& g) { find(g, "route").top_k = 4; }},
      {"routing width", "expert1.gather", [](Graph& g) { find(g, "expert1.gather").top_k = 3; }},
      {"output holds expert 1, wanted 2", "expert1.gather", [](Graph& g) { find(g, "expert1.gather").expert = 2; }},
      {"mixes rows", "expert1.gated",
       [](Graph& g) { find(g, "expert1.gated").inputs[0] = find(g, "expert0.act").output; }},
      {"input 1 holds expert 1, wanted 0", "combine",
       [](Graph& g) { std::swap(find(g, "combine").inputs[1], find(g, "combine").inputs[2]); }},
      {"takes 5 inputs", "combine", [](Graph& g) { find(g, "combine").experts = 4; }},
      {"output is not defined", "", [](Graph& g) { g.output = 9999; }},
      {"input 77 is no value", "", [](Graph& g) { g.input = 77; }},
      {"listed twice", "", [](Graph& g) { g.tensors[1].name = g.tensors[0].name; }},
      {"has width 0", "", [](Graph& g) { g.values[0].width = 0; }},
      {"never defined", "",
       [](Graph& g) {
         g.values.push_back({"stray", 3, -1});
       }},
  };
  for (const Break& b : breaks) {
    Graph graph = sample_block();
    b.apply(graph);
    const Status status = graph.validate();
    ASSERT_FALSE(status.ok()) << b.op << ": " << b.what;
    EXPECT_EQ(status.error().code, ErrorCode::mismatch);
    EXPECT_NE(status.error().message.find(b.what), std::string::npos) << status.error().message;
    if (*b.op) {
      EXPECT_NE(status.error().message.find("op " + std::string(b.op) + " "), std::string::npos)
          << status.error().message;
    }
  }
}

ModelGraph sample_model() {
  return decoder_model("sample",
                       {.hidden = 8,
                        .intermediate = 12,
                        .vocab = 10,
                        .layers = 2,
                        .heads = 2,
                        .kv_heads = 1,
                        .head_dim = 4,
                        .eps = 1e-5f,
                        .rope = {{1.f, .1f}}},
                       [](GraphBuilder& b, const std::string& name, std::int64_t, ValueId x) {
                         return b.binary(OpKind::add, name + ".double", x, x);
                       });
}

TEST(ModelGraph, ValidatesTheWhole) {
  VN_EXPECT_OK(sample_model().validate());
  const std::vector<std::pair<const char*, std::function<void(ModelGraph&)>>> breaks = {
      {"1 blocks, wanted 2", [](ModelGraph& m) { m.blocks.pop_back(); }},
      {"two ops are named", [](ModelGraph& m) { m.blocks[1] = m.blocks[0]; }},
      {"widths -1 -> 8, wanted -1 -> 9", [](ModelGraph& m) { m.hidden = 9; }},
      {"widths 8 -> 10, wanted 8 -> 11", [](ModelGraph& m) { m.vocab = 11; }},
      {"wanted as [10, 8] and as [8]", [](ModelGraph& m) { m.head.tensors[0].name = "model.embed_tokens.weight"; }},
  };
  for (const auto& [what, apply] : breaks) {
    ModelGraph model = sample_model();
    apply(model);
    const Status status = model.validate();
    ASSERT_FALSE(status.ok()) << what;
    EXPECT_NE(status.error().message.find(what), std::string::npos) << status.error().message;
  }
}

}  // namespace
}  // namespace vernier
