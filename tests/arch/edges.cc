// Edges and groups of every architecture. That scaling along an edge changes nothing is shown in
// tests/runtime/edge_invariance.cc.
#include "arch/edges.h"

#include <gtest/gtest.h>

#include "arch/architecture.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

using Kind = ScaleEdge::Kind;

ModelGraph golden(const std::string& name) {
  const std::string path = testing::source_dir() + "/tests/golden/architectures/" + name + "/config.json";
  const auto text = read_text_file(path);
  EXPECT_TRUE(text.ok()) << text.error().text();
  const auto model = build_model_graph(*parse_json(*text, path), path);
  EXPECT_TRUE(model.ok()) << model.error().text();
  return *model;
}

std::vector<std::string> names(const std::vector<ScaleEdge>& edges) {
  std::vector<std::string> all;
  for (const ScaleEdge& e : edges) all.push_back(e.name);
  return all;
}

using Names = std::vector<std::string>;

TEST(ScaleEdges, GatedFamilies) {
  for (const char* name : {"llama", "llama-biases", "mistral", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const std::vector<ScaleEdge> edges = scale_edges(golden(name).blocks[1]);
    EXPECT_EQ(names(edges), (Names{"model.layers.1.input_layernorm -> q_proj,k_proj,v_proj",
                                   "model.layers.1.self_attn.v_proj -> o_proj",
                                   "model.layers.1.post_attention_layernorm -> gate_proj,up_proj",
                                   "model.layers.1.mlp.up_proj -> down_proj"}));
    ASSERT_EQ(edges.size(), 4u);
    EXPECT_EQ(edges[0].kind, Kind::norm);
    EXPECT_EQ(edges[1].kind, Kind::value);
    EXPECT_EQ(edges[2].kind, Kind::norm);
    EXPECT_EQ(edges[3].kind, Kind::gated);
    EXPECT_EQ(edges[0].channels, 32);
    EXPECT_EQ(edges[3].channels, 48);
  }
}

// 4 query heads on 2 key heads of 8: output columns 0-15 come from value channels 0-7, twice.
TEST(ScaleEdges, ValueChannelsRepeatOverQueryHeads) {
  const ModelGraph model = golden("llama");
  const ScaleEdge edge = scale_edges(model.blocks[0])[1];
  EXPECT_EQ(edge.channels, 16);
  ASSERT_EQ(edge.producer_channel.size(), 32u);
  for (int column = 0; column < 32; ++column)
    EXPECT_EQ(edge.producer_channel[column], column / 16 * 8 + column % 8) << column;
}

TEST(ScaleEdges, EdgesPointAtTheirOps) {
  for (const char* name : {"llama", "opt", "mixtral", "qwen3"}) {
    const ModelGraph model = golden(name);
    for (const Graph* graph : model.graphs())
      for (const ScaleEdge& edge : scale_edges(*graph)) {
        SCOPED_TRACE(edge.name);
        const Op& producer = graph->ops[edge.producer];
        EXPECT_EQ(graph->values[producer.output].width, edge.channels);
        EXPECT_EQ(static_cast<std::int64_t>(edge.producer_channel.size()), graph->values[edge.value].width);
        for (int c : edge.consumers) {
          EXPECT_EQ(graph->ops[c].kind, OpKind::linear);
          EXPECT_EQ(graph->values[graph->ops[c].inputs[0]].width, graph->values[edge.value].width);
        }
      }
  }
}

TEST(ScaleEdges, Opt) {
  const std::string layer = "model.decoder.layers.0";
  EXPECT_EQ(names(scale_edges(golden("opt").blocks[0])),
            (Names{layer + ".self_attn_layer_norm -> q_proj,k_proj,v_proj", layer + ".self_attn.v_proj -> out_proj",
                   layer + ".final_layer_norm -> fc1", layer + ".fc1 -> fc2"}));
  // Norms after the residual are read by it too.
  const std::vector<ScaleEdge> post = scale_edges(golden("opt-post-norm").blocks[0]);
  EXPECT_EQ(names(post), (Names{layer + ".self_attn.v_proj -> out_proj", layer + ".fc1 -> fc2"}));
  EXPECT_EQ(post[1].kind, Kind::relu);
}

TEST(ScaleEdges, NormsWithoutWeightsAndGeluHaveNone) {
  Json config = *parse_json(R"({"model_type": "opt", "hidden_size": 32, "ffn_dim": 48, "vocab_size": 64,
    "num_hidden_layers": 1, "num_attention_heads": 4, "layer_norm_elementwise_affine": false,
    "activation_function": "gelu"})",
                            "test");
  const auto model = build_model_graph(config, "test");
  VN_ASSERT_OK(model);
  const std::vector<ScaleEdge> edges = scale_edges(model->blocks[0]);
  ASSERT_EQ(edges.size(), 1u);
  EXPECT_EQ(edges[0].kind, Kind::value);
}

TEST(ScaleEdges, MixtralReachesRouterAndExperts) {
  const Graph block = golden("mixtral").blocks[0];
  const std::vector<ScaleEdge> edges = scale_edges(block);
  ASSERT_EQ(edges.size(), 2u + 1 + 4);
  EXPECT_EQ(edges[2].name,
            "model.layers.0.post_attention_layernorm -> gate,experts.0.w1,experts.0.w3,experts.1.w1,experts.1.w3,"
            "experts.2.w1,experts.2.w3,experts.3.w1,experts.3.w3");
  for (int e = 0; e < 4; ++e) {
    EXPECT_EQ(edges[3 + e].name, "model.layers.0.block_sparse_moe.experts." + std::to_string(e) + ".w3 -> w2");
    EXPECT_EQ(block.values[edges[3 + e].value].expert, e);
  }
}

// A tied head's weight is the embedding's and cannot take the final norm's factors.
TEST(ScaleEdges, TiedHeadsAreLeftAlone) {
  EXPECT_EQ(names(scale_edges(golden("llama").head)), (Names{"model.norm -> lm_head"}));
  EXPECT_TRUE(scale_edges(golden("llama-tied").head).empty());
}

std::vector<Names> group_names(const Graph& graph) {
  std::vector<Names> all;
  for (const std::vector<int>& group : linear_groups(graph)) {
    Names& members = all.emplace_back();
    for (int op : group) members.push_back(graph.ops[op].name.substr(graph.name.size() + 1));
  }
  return all;
}

TEST(LinearGroups, ShareTheirInput) {
  EXPECT_EQ(group_names(golden("llama").blocks[1]),
            (std::vector<Names>{{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                {"self_attn.o_proj"},
                                {"mlp.gate_proj", "mlp.up_proj"},
                                {"mlp.down_proj"}}));
  EXPECT_EQ(
      group_names(golden("opt").blocks[0]),
      (std::vector<Names>{
          {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"self_attn.out_proj"}, {"fc1"}, {"fc2"}}));
  const std::vector<Names> mixtral = group_names(golden("mixtral").blocks[0]);
  ASSERT_EQ(mixtral.size(), 2u + 1 + 2 * 4);
  EXPECT_EQ(mixtral[2], (Names{"block_sparse_moe.gate"}));
  EXPECT_EQ(mixtral[3], (Names{"block_sparse_moe.experts.0.w1", "block_sparse_moe.experts.0.w3"}));
  EXPECT_EQ(mixtral[10], (Names{"block_sparse_moe.experts.3.w2"}));
}

}  // namespace
}  // namespace vernier
