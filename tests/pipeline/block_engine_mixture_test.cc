// Mixtures, and checkpoints with values that are not finite: on a tiny random model written here.
#include <cmath>
#include <cstring>

#include "arch/architecture.h"
#include "base/json.h"
#include "base/random.h"
#include "block_engine_fixture.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "pipeline/block_stages.h"

namespace vernier::testing {
namespace {

constexpr int experts = 5;

// Five experts, two per token. Router rows are u, -u, v, -v and 0: one of each pair is positive, so that the last
// expert never wins.
class MixtureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_ = {{"model_type", "mixtral"},      {"hidden_size", 64},        {"intermediate_size", 128},
               {"num_hidden_layers", 1},       {"num_attention_heads", 4}, {"num_key_value_heads", 2},
               {"hidden_act", "silu"},         {"vocab_size", 64},         {"max_position_embeddings", 64},
               {"rms_norm_eps", 1e-5},         {"rope_theta", 10000.0},    {"tie_word_embeddings", false},
               {"num_local_experts", experts}, {"num_experts_per_tok", 2}};
    auto graph = build_model_graph(config_, "test");
    VN_ASSERT_OK(graph);
    std::uint64_t stream = 1;
    for (const Graph* g : graph->graphs()) {
      for (const TensorRef& ref : g->tensors) tensors_[ref.name] = random_tensor(ref.shape, stream++);
    }
    Tensor& router = tensors_.at("model.layers.0.block_sparse_moe.gate.weight");
    const Matrix<float> rows = router.matrix();
    for (std::int64_t c = 0; c < rows.cols; ++c) {
      rows(1, c) = -rows(0, c);
      rows(3, c) = -rows(2, c);
      rows(4, c) = 0;
    }
  }

  static Tensor random_tensor(const Shape& shape, std::uint64_t stream) {
    Tensor tensor(DType::f32, shape);
    const Random random(stream);
    std::uint64_t i = 0;
    const bool vector = shape.rank() == 1;
    for (float& v : tensor.as<float>()) v = vector ? 1 + 0.1f * random.normal(i++) : 0.1f * random.normal(i++);
    return tensor;
  }

  std::unique_ptr<FloatSource> open() {
    const std::string folder = model_.path();
    std::vector<TensorEntry> entries;
    for (const auto& [name, tensor] : tensors_) entries.push_back({name, tensor.dtype(), tensor.shape()});
    auto writer = SafetensorsWriter::open(folder + "/model.safetensors", plan_safetensors(entries, {}));
    EXPECT_TRUE(writer.ok());
    for (const auto& [name, tensor] : tensors_) EXPECT_TRUE((*writer)->write(name, tensor.bytes()).ok());
    EXPECT_TRUE((*writer)->finish().ok());
    EXPECT_TRUE(write_file_atomic(folder + "/config.json", dump_json(config_)).ok());
    auto source = FloatSource::open(folder);
    EXPECT_TRUE(source.ok());
    calibration_ = random_tokens(6, 32, 64);
    return std::move(source).value();
  }

  EngineRun run(const FloatSource& source, const std::string& solver = "gptq") {
    EngineRun run{source, calibration_, plan_all(source.graph().blocks[0], 3), {}, scratch_.path(), {}};
    run.recipe.solver = {solver, {}};
    run.recipe.calibration.spill = "f32";
    return run;
  }

  Json config_;
  std::map<std::string, Tensor> tensors_;
  TempDir model_, scratch_;
  CalibrationSet calibration_;
};

std::string expert_weight(int expert, const std::string& name) {
  return "model.layers.0.block_sparse_moe.experts." + std::to_string(expert) + "." + name + ".weight";
}

TEST_F(MixtureTest, StagesTreatAllExpertsAlike) {
  const auto source = open();
  const Graph& block = source->graph().blocks[0];
  const StagePlan plan = plan_stages(block, plan_all(block, 4));
  ASSERT_EQ(plan.stages.size(), 4u);  // q k v, o, w1 w3 of all experts, w2 of all
  for (const std::size_t s : {2, 3}) {
    const Stage& stage = plan.stages[s];
    EXPECT_EQ(stage.groups.size(), static_cast<std::size_t>(experts));
    ASSERT_EQ(stage.pools.size(), 1u);
    EXPECT_EQ(stage.pools[0].groups.size(), static_cast<std::size_t>(experts));
    EXPECT_EQ(stage.pools[0].source >= 0, s == 2);
    bool routing = false;
    for (const ValueId v : stage.live) {
      EXPECT_LT(block.values[v].expert, 0);
      routing |= spills_exactly(block, v);
    }
    EXPECT_TRUE(routing);
  }
}

TEST_F(MixtureTest, WavesHoldFewHessiansButEveryGroup) {
  config_["hidden_size"] = 4096;
  config_["intermediate_size"] = 8192;
  const auto graph = build_model_graph(config_, "test");
  VN_ASSERT_OK(graph);
  const Graph& block = graph->blocks[0];
  const StagePlan plan = plan_stages(block, plan_all(block, 4));
  const auto& w1 = plan.stages[2].waves;
  const auto& w2 = plan.stages[3].waves;
  EXPECT_GT(w1.size(), 1u);
  EXPECT_LT(w1.size(), static_cast<std::size_t>(experts));
  EXPECT_EQ(w2.size(), static_cast<std::size_t>(experts));  // one Hessian of 8192 columns fills a wave
  std::size_t groups = 0;
  for (const auto& wave : w1) groups += wave.size();
  EXPECT_EQ(groups, static_cast<std::size_t>(experts));
}

TEST_F(MixtureTest, QuantizesAnExpertThatSawNothing) {
  const auto source = open();
  const EngineRun engine = run(*source);
  const BlockResult result = engine.first_block();
  VN_ASSERT_OK(result.status);
  EXPECT_EQ(result.tensors.size(), 4u + 3 * experts);
  std::int64_t tokens = 0;
  for (int e = 0; e < experts; ++e) {
    EXPECT_EQ(result.tensors.at(expert_weight(e, "w1")).tokens, result.tensors.at(expert_weight(e, "w2")).tokens);
    tokens += result.tensors.at(expert_weight(e, "w1")).tokens;
  }
  EXPECT_EQ(tokens, 2 * 6 * 32);  // two experts a token
  EXPECT_EQ(result.tensors.at(expert_weight(4, "w1")).tokens, 0);
  EXPECT_GT(result.tensors.at(expert_weight(0, "w1")).tokens, 0);
  int noted = 0;
  for (const std::string& note : result.notes) noted += note.find("expert 4") != std::string::npos;
  EXPECT_EQ(noted, 2);  // w1 and w3 share their input, w2 has its own
  for (const char* name : {"w1", "w3", "w2"}) {
    const SolveReport& report = result.tensors.at(expert_weight(4, name)).report;
    EXPECT_LT(report.error, report.error_rtn) << name << ": all tokens should have stood in";
  }
}

TEST_F(MixtureTest, NextInputIsTheForwardOfTheQuantizedBlock) {
  const auto source = open();
  const EngineRun engine = run(*source);
  const BlockResult result = engine.first_block();
  VN_ASSERT_OK(result.status);
  EXPECT_LT(relative_difference(direct_forward(engine, result.tensors), result.hidden), 1e-5);
  expect_same_bytes(result, engine.first_block());
}

TEST_F(MixtureTest, StaticRangesOfAnEmptyExpertComeFromTheOthers) {
  const auto source = open();
  EngineRun engine = run(*source, "rtn");
  ActivationSpec spec;
  spec.dynamic = spec.per_token = false;
  engine.plans = plan_all(source->graph().blocks[0], 8, spec);
  const BlockResult result = engine.first_block();
  VN_ASSERT_OK(result.status);
  for (const char* name : {"w1", "w2"}) {
    float widest = 0;
    for (int e = 0; e < experts - 1; ++e) {
      widest = std::max(widest, result.tensors.at(expert_weight(e, name)).activation->scale);
    }
    EXPECT_FLOAT_EQ(result.tensors.at(expert_weight(4, name)).activation->scale, widest) << name;
  }
}

TEST_F(MixtureTest, NotFiniteWeightsAreNamed) {
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  for (const char* solver : {"gptq", "rtn"}) {
    tensors_.at(name).matrix()(3, 17) = NAN;
    const auto source = open();
    const BlockResult result = run(*source, solver).first_block();
    ASSERT_FALSE(result.status.ok());
    const std::string message = result.status.error().message;
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("row 3, column 17"), std::string::npos) << message;
  }
}

TEST_F(MixtureTest, DivergenceNamesTheOp) {
  for (float& w : tensors_.at("model.layers.0.post_attention_layernorm.weight").as<float>()) w = 3e38f;
  const auto source = open();
  const BlockResult result = run(*source).first_block();
  ASSERT_FALSE(result.status.ok());
  EXPECT_EQ(result.status.error().code, ErrorCode::failed);
  EXPECT_NE(result.status.error().message.find("model.layers.0.post_attention_layernorm"), std::string::npos)
      << result.status.error().message;
}

TEST_F(MixtureTest, EmbeddingThatIsNotFiniteIsRefused) {
  for (float& w : tensors_.at("model.embed_tokens.weight").as<float>()) w = INFINITY;
  const auto source = open();
  const BlockResult result = run(*source).first_block();
  ASSERT_FALSE(result.status.ok());
  EXPECT_EQ(result.status.error().code, ErrorCode::invalid);
}

}  // namespace
}  // namespace vernier::testing
