// config.json to graph: tensors against real checkpoints, keys that are refused, keys and their older spellings.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "arch/architecture.h"
#include "arch/rope.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::bundled_model;
using testing::source_dir;

const char* const kLlama = R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "vocab_size": 64,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu"})";

Json parsed(const std::string& text) {
  auto json = parse_json(text, "test");
  EXPECT_TRUE(json.ok()) << text;
  return *json;
}

Json with(const std::string& changes) {
  Json config = parsed(kLlama);
  config.update(parsed(changes));
  return config;
}

// Everything the graph reads is in the checkpoint in that shape, and the other way round.
TEST(Architectures, TensorsAreThoseOfCheckpoints) {
  std::vector<std::string> folders{bundled_model()};
  const std::string golden = source_dir() + "/tests/golden/architectures";
  for (const std::string& name : list_directory(golden)) folders.push_back(golden + "/" + name);
  ASSERT_GT(folders.size(), 10u);
  for (const std::string& folder : folders) {
    SCOPED_TRACE(folder);
    const auto checkpoint = Checkpoint::open(folder);
    VN_ASSERT_OK(checkpoint);
    const auto model = build_model_graph((*checkpoint)->config(), folder);
    VN_ASSERT_OK(model);
    std::map<std::string, std::string> wanted, found;
    for (const Graph* graph : model->graphs())
      for (const TensorRef& t : graph->tensors) wanted[t.name] = t.shape.text();
    for (const auto& entry : (*checkpoint)->entries()) found[entry.tensor.name] = entry.tensor.shape.text();
    EXPECT_EQ(wanted, found);
  }
}

// Modules are named after the checkpoint's: an op with a weight owns `<name>.weight`, but for a tied head.
TEST(Architectures, OpsAreNamedAfterModules) {
  const auto model = build_model_graph(with(R"({"tie_word_embeddings": true, "attention_bias": true})"), "test");
  VN_ASSERT_OK(model);
  EXPECT_TRUE(model->tied_head);
  for (const Graph* graph : model->graphs())
    for (const Op& op : graph->ops) {
      const std::string owner = op.name == "lm_head" ? "model.embed_tokens" : op.name;
      if (op.weight >= 0) {
        EXPECT_EQ(graph->tensors[op.weight].name, owner + ".weight");
      }
      if (op.bias >= 0) {
        EXPECT_EQ(graph->tensors[op.bias].name, owner + ".bias");
      }
    }
}

TEST(Architectures, EachIsFoundByItsModelTypes) {
  EXPECT_GE(architectures().size(), 6u);
  for (const ArchitectureDescriptor* a : architectures()) {
    EXPECT_FALSE(a->summary.empty());
    for (std::string_view type : a->model_types) {
      const auto found = find_architecture(Json{{"model_type", type}}, "test");
      VN_ASSERT_OK(found);
      EXPECT_EQ(*found, a);
    }
  }
}

struct Refusal {
  const char* changes;
  ErrorCode code;
  std::vector<const char*> words;  // key, wanted, found
};

TEST(Architectures, RefusalsNameKeyWantedAndFound) {
  const std::vector<Refusal> refusals = {
      {R"({"model_type": "gpt9"})", ErrorCode::unsupported, {"model_type", "llama", "qwen3", "\"gpt9\""}},
      {R"({"model_type": null})", ErrorCode::unsupported, {"model_type", "nothing"}},
      {R"({"model_type": 7})", ErrorCode::invalid, {"model_type", "a string", "7"}},
      {R"({"hidden_act": "gelu"})", ErrorCode::unsupported, {"hidden_act", "silu", "\"gelu\""}},
      {R"({"hidden_size": null})", ErrorCode::not_found, {"hidden_size", "an integer", "nothing"}},
      {R"({"hidden_size": "32"})", ErrorCode::invalid, {"hidden_size", "an integer", "\"32\""}},
      {R"({"hidden_size": 32.5})", ErrorCode::invalid, {"hidden_size", "an integer", "32.5"}},
      {R"({"hidden_size": -32})", ErrorCode::invalid, {"hidden_size", "-32"}},
      {R"({"hidden_size": 18446744073709551615})", ErrorCode::invalid, {"hidden_size", "18446744073709551615"}},
      {R"({"hidden_size": 0})", ErrorCode::invalid, {"hidden_size", "1 ..", "0"}},
      {R"({"num_hidden_layers": 1000000000})", ErrorCode::invalid, {"num_hidden_layers", "1000000000"}},
      {R"({"head_dim": 1000000})", ErrorCode::invalid, {"head_dim", "1000000"}},
      {R"({"head_dim": 7})", ErrorCode::unsupported, {"head_dim", "even", "7"}},
      {R"({"hidden_size": 16777216, "num_attention_heads": 2})", ErrorCode::unsupported, {"head_dim", "at most"}},
      {R"({"num_attention_heads": 5})", ErrorCode::unsupported, {"num_key_value_heads", "5", "2"}},
      {R"({"num_attention_heads": 6})", ErrorCode::unsupported, {"num_attention_heads", "32", "6"}},
      {R"({"tie_word_embeddings": "yes"})", ErrorCode::invalid, {"tie_word_embeddings", "true or false", "\"yes\""}},
      {R"({"rms_norm_eps": "small"})", ErrorCode::invalid, {"rms_norm_eps", "a number", "\"small\""}},
      {R"({"rms_norm_eps": -1})", ErrorCode::unsupported, {"rms_norm_eps", ">= 0", "-1"}},
      {R"({"rope_theta": 0})", ErrorCode::invalid, {"rope_theta", "above 0", "0"}},
      {R"({"rope_theta": 0.5})", ErrorCode::unsupported, {"rope_theta", "above 1"}},
      {R"({"rope_scaling": 3})", ErrorCode::unsupported, {"rope_scaling", "an object", "3"}},
      {R"({"rope_scaling": {"type": "su"}})", ErrorCode::unsupported, {"type", "yarn", "\"su\""}},
      {R"({"rope_parameters": {"rope_type": "longrope"}})",
       ErrorCode::unsupported,
       {"rope_parameters", "rope_type", "llama3", "\"longrope\""}},
      {R"({"rope_scaling": {"type": "linear"}})", ErrorCode::not_found, {"rope_scaling", "factor", "nothing"}},
      {R"({"rope_scaling": {"type": "linear", "factor": -2}})", ErrorCode::invalid, {"factor", "above 0", "-2"}},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}})",
       ErrorCode::unsupported,
       {"high_freq_factor", "4", "1"}},
      {R"({"rope_parameters": {"full_attention": {"rope_theta": 10}}})",
       ErrorCode::unsupported,
       {"rope_parameters", "one set"}},
      {R"({"partial_rotary_factor": 0.5})", ErrorCode::unsupported, {"partial_rotary_factor", "1", "0.5"}},
      {R"({"model_type": "mistral", "sliding_window": 0})", ErrorCode::invalid, {"sliding_window", "1 ..", "0"}},
      {R"({"model_type": "qwen2", "layer_types": ["full_attention"]})",
       ErrorCode::unsupported,
       {"layer_types", "a list of 2"}},
      {R"({"model_type": "qwen2", "layer_types": ["full_attention", "chunked"]})",
       ErrorCode::unsupported,
       {"layer_types", "chunked"}},
      {R"({"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]})",
       ErrorCode::unsupported,
       {"sliding_window", "use_sliding_window"}},
      {R"({"model_type": "mixtral", "num_local_experts": 0})", ErrorCode::invalid, {"num_local_experts", "1 ..", "0"}},
      {R"({"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 5})",
       ErrorCode::invalid,
       {"num_experts_per_tok", "1 .. 4", "5"}},
      {R"({"model_type": "mixtral", "num_local_experts": 1024, "num_hidden_layers": 100})",
       ErrorCode::unsupported,
       {"num_local_experts", "over all layers"}},
      {R"({"model_type": "opt", "ffn_dim": 48, "activation_function": "tanh"})",
       ErrorCode::unsupported,
       {"activation_function", "relu or gelu", "\"tanh\""}},
      {R"({"model_type": "opt", "ffn_dim": 48, "num_attention_heads": 6})",
       ErrorCode::unsupported,
       {"num_attention_heads", "32", "6"}},
  };
  for (const Refusal& r : refusals) {
    SCOPED_TRACE(r.changes);
    const auto model = build_model_graph(with(r.changes), "folder/config.json");
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.error().code, r.code) << model.error().message;
    EXPECT_NE(model.error().message.find("folder/config.json"), std::string::npos) << model.error().message;
    for (const char* word : r.words)
      EXPECT_NE(model.error().message.find(word), std::string::npos) << word << " | " << model.error().message;
  }
}

TEST(Architectures, ConfigsThatAreNoObjectsAreRefused) {
  for (const char* text : {"[]", "3", "null", "\"llama\""}) EXPECT_FALSE(build_model_graph(parsed(text), "test").ok());
}

// Any value under any key gives a graph or an error, and a graph that was given is valid.
TEST(Architectures, NoValueBreaksTheReaders) {
  const std::vector<Json> odd = {nullptr,
                                 -1,
                                 0,
                                 1,
                                 2,
                                 3,
                                 1.5,
                                 1e308,
                                 18446744073709551615u,
                                 "x",
                                 Json::array(),
                                 Json::array({"full_attention", 3}),
                                 Json::object(),
                                 true,
                                 Json{{"rope_type", "yarn"}},
                                 Json{{"type", "dynamic"}}};
  const std::string golden = source_dir() + "/tests/golden/architectures";
  int built = 0, refused = 0;
  const auto attempt = [&](const Json& config) {
    const auto model = build_model_graph(config, "test");
    ++(model.ok() ? built : refused);
    if (model.ok()) {
      EXPECT_TRUE(model->validate().ok());
    } else {
      EXPECT_FALSE(model.error().message.empty());
    }
  };
  for (const std::string& name : list_directory(golden)) {
    const std::string path = golden + "/" + name + "/config.json";
    const Json config = parsed(*read_text_file(path));
    for (const auto& [key, original] : config.items())
      for (const Json& value : odd) {
        Json changed = config;
        changed[key] = value;
        attempt(changed);
        if (!original.is_object()) continue;
        for (const auto& [inner, unused] : original.items()) {
          changed[key] = original;
          changed[key][inner] = value;
          attempt(changed);
        }
      }
  }
  EXPECT_GT(built, 100);
  EXPECT_GT(refused, 100);
}

TEST(Architectures, LongFoundValuesAreCut) {
  const auto model = build_model_graph(with(R"({"hidden_act": ")" + std::string(10000, 'x') + "\"}"), "test");
  ASSERT_FALSE(model.ok());
  EXPECT_LT(model.error().message.size(), 300u);
}

std::vector<std::int64_t> windows(const Json& config) {
  const auto model = build_model_graph(config, "test");
  EXPECT_TRUE(model.ok()) << model.error().text();
  std::vector<std::int64_t> found{model->window};
  for (const Graph& block : model->blocks)
    for (const Op& op : block.ops)
      if (op.kind == OpKind::attention) found.push_back(op.window);
  return found;
}

// The model's window first, then each layer's.
TEST(Architectures, Windows) {
  using W = std::vector<std::int64_t>;
  EXPECT_EQ(windows(with("{}")), (W{0, 0, 0}));
  EXPECT_EQ(windows(with(R"({"model_type": "mistral", "sliding_window": 7})")), (W{7, 7, 7}));
  EXPECT_EQ(windows(with(R"({"model_type": "mistral", "sliding_window": null})")), (W{0, 0, 0}));
  EXPECT_EQ(windows(with(R"({"model_type": "mistral"})")), (W{4096, 4096, 4096}));
  EXPECT_EQ(windows(with(R"({"model_type": "mixtral"})")), (W{0, 0, 0}));
  const std::string qwen = R"({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": )";
  EXPECT_EQ(windows(with(qwen + "false, \"max_window_layers\": 1}")), (W{0, 0, 0}));
  EXPECT_EQ(windows(with(qwen + "true, \"max_window_layers\": 1}")), (W{0, 0, 9}));
  EXPECT_EQ(windows(with(qwen + "true, \"max_window_layers\": 0}")), (W{9, 9, 9}));
  EXPECT_EQ(windows(with(qwen + "true, \"max_window_layers\": 5}")), (W{0, 0, 0}));
}

Rope rope_of(const std::string& text, std::int64_t head_dim, std::int64_t max_positions = 2048) {
  const Json config = parsed(text);
  const auto rope = read_rope(ConfigReader(config, "test"), head_dim, max_positions, 10000);
  EXPECT_TRUE(rope.ok()) << rope.error().text();
  return *rope;
}

TEST(Rope, OldAndNewSpellingsAgree) {
  const auto& plain = rope_of(R"({"rope_theta": 500})", 8);
  EXPECT_EQ(plain.inverse_frequency.size(), 4u);
  EXPECT_FLOAT_EQ(plain.inverse_frequency[0], 1);
  EXPECT_FLOAT_EQ(plain.inverse_frequency[2], 1 / std::sqrt(500.f));
  for (const char* same : {R"({"rope_parameters": {"rope_theta": 500}})",
                           R"({"rope_theta": 3, "rope_parameters": {"rope_theta": 500, "rope_type": "default"}})",
                           R"({"rope_theta": 500, "rope_scaling": null})", R"({"rope_theta": 500, "rope_scaling": {}})",
                           R"({"rope_theta": 500, "rope_scaling": {"type": "dynamic", "factor": 2}})"})
    EXPECT_EQ(rope_of(same, 8).inverse_frequency, plain.inverse_frequency) << same;
  const auto& linear = rope_of(R"({"rope_theta": 500, "rope_scaling": {"type": "linear", "factor": 2}})", 8);
  for (int j = 0; j < 4; ++j) EXPECT_FLOAT_EQ(linear.inverse_frequency[j], plain.inverse_frequency[j] / 2);
  EXPECT_EQ(linear.magnitude, 1);
}

// Llama 3.1's own settings: the fastest pairs stay, the slowest are stretched by 8, in between by something between.
TEST(Rope, Llama3StretchesSlowPairs) {
  const auto& plain = rope_of(R"({"rope_theta": 500000})", 128);
  const auto& scaled = rope_of(
      R"({"rope_theta": 500000, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
          "high_freq_factor": 4, "original_max_position_embeddings": 8192}})",
      128);
  EXPECT_EQ(scaled.inverse_frequency[0], plain.inverse_frequency[0]);
  EXPECT_FLOAT_EQ(scaled.inverse_frequency[63], plain.inverse_frequency[63] / 8);
  float previous = 1;
  for (int j = 0; j < 64; ++j) {
    const float kept = scaled.inverse_frequency[j] / plain.inverse_frequency[j];
    EXPECT_LE(kept, previous + 1e-6f);
    EXPECT_GE(kept, 1 / 8.001f);
    previous = kept;
  }
}

TEST(Rope, YarnMagnitudeIsStatedOrFollowsTheFactor) {
  const std::string yarn = R"({"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 512)";
  EXPECT_FLOAT_EQ(rope_of(yarn + "}}", 64).magnitude, 0.1f * std::log(4.f) + 1);  // 2048 / 512
  EXPECT_FLOAT_EQ(rope_of(yarn + ", \"factor\": 16}}", 64).magnitude, 0.1f * std::log(16.f) + 1);
  EXPECT_FLOAT_EQ(rope_of(yarn + ", \"attention_factor\": 1.25}}", 64).magnitude, 1.25f);
  EXPECT_FLOAT_EQ(rope_of(yarn + ", \"mscale\": 1, \"mscale_all_dim\": 1}}", 64).magnitude, 1);
}

}  // namespace
}  // namespace vernier
