// The rotate transform leaves every model's function where it was, and runs through plan, stream and containers.
#include "base/json.h"
#include "containers/container.h"
#include "io/checkpoint.h"
#include "methods/method.h"
#include "pipeline/plan.h"
#include "pipeline/quantize.h"
#include "support/logits.h"

namespace vernier {
namespace {

struct Rotated {
  std::shared_ptr<const ModelSource> source;
  std::vector<std::string> notes;
};

Result<Rotated> rotate(const std::string& folder, const std::vector<std::pair<std::string, std::string>>& given) {
  VN_ASSIGN(const MethodDescriptor* method, find_method("rotate"));
  VN_ASSIGN(const Options options, resolve_options(*method, given));
  VN_ASSIGN(std::shared_ptr<const ModelSource> model, open_model(folder));
  Rotated rotated;
  VN_ASSIGN(rotated.source, method->rewrite_model(std::move(model), options, rotated.notes));
  return rotated;
}

double difference(const Buffer& a, const Buffer& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.data.size(); ++i) most = std::max<double>(most, std::abs(a.data[i] - b.data[i]));
  return most;
}

class RotatedArchitecture : public ::testing::TestWithParam<std::string> {};

TEST_P(RotatedArchitecture, ComputesTheSame) {
  const testing::ExpectedLogits expected = testing::expected_logits(GetParam());
  for (const char* seed : {"0", "5"}) {
    const auto rotated = rotate(testing::golden_folder(GetParam()), {{"seed", seed}});
    if (GetParam() == "opt-post-norm") {
      ASSERT_FALSE(rotated.ok());
      EXPECT_EQ(rotated.error().code, ErrorCode::unsupported);
      EXPECT_NE(rotated.error().message.find("self_attn_layer_norm"), std::string::npos) << rotated.error().text();
      continue;
    }
    VN_ASSERT_OK(rotated);
    const auto logits = testing::model_logits(*rotated->source, expected.ids);
    VN_ASSERT_OK(logits);
    EXPECT_LE(testing::largest_difference(*logits, expected.logits), 1e-4);
    EXPECT_FALSE(rotated->source->graph().tied_head);
    const auto original = open_model(testing::golden_folder(GetParam()));
    VN_ASSERT_OK(original);
    EXPECT_EQ(rotated->notes.empty(), !(*original)->graph().tied_head);
    // Something did turn: the hidden states are others, of the same lengths.
    const auto before = Forward::open(**original, false), after = Forward::open(*rotated->source, false);
    Batch batch = Batch::uniform(1, static_cast<std::int64_t>(expected.ids.size()));
    batch.ids = expected.ids;
    const Buffer x = (*before)->hidden(batch).value(), y = (*after)->hidden(batch).value();
    EXPECT_GT(difference(x, y), 0.01);
    for (std::int64_t r = 0; r < x.rows; ++r) {
      double xx = 0, yy = 0;
      for (std::int64_t c = 0; c < x.cols; ++c) {
        xx += std::pow(x.matrix()(r, c), 2);
        yy += std::pow(y.matrix()(r, c), 2);
      }
      EXPECT_NEAR(yy / xx, 1, 1e-4);
    }
  }
}

// Value heads turn in any model, post-norm ones included.
TEST_P(RotatedArchitecture, ValueHeadsAloneComputeTheSame) {
  const testing::ExpectedLogits expected = testing::expected_logits(GetParam());
  const auto rotated = rotate(testing::golden_folder(GetParam()), {{"residual", "false"}});
  VN_ASSERT_OK(rotated);
  EXPECT_TRUE(rotated->notes.empty());
  const auto logits = testing::model_logits(*rotated->source, expected.ids);
  VN_ASSERT_OK(logits);
  EXPECT_LE(testing::largest_difference(*logits, expected.logits), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Architectures, RotatedArchitecture, ::testing::ValuesIn(testing::golden_names()),
                         testing::test_name);

Result<Plan> plan_of(const std::string& model, const std::string& out, const std::string& recipe,
                     const std::vector<std::string>& sets) {
  VN_ASSIGN(const Recipe loaded, load_recipe(recipe, sets));
  RunOptions options;
  options.model = model;
  options.out = out;
  options.calib = "random";
  return make_plan(loaded, options, false);
}

// 8-bit weights per row stay close to the float logits, through each path: data-free and calibrated.
TEST(RotatedPipeline, QuantizesATiedModelIntoAnUntiedOne) {
  const testing::TempDir dir;
  const std::string model = testing::golden_folder("llama-tied");
  const testing::ExpectedLogits expected = testing::expected_logits("llama-tied");
  int n = 0;
  for (const char* recipe : {"w8a8-quarot", "w4a16-quarot-gptq", "w4a8-quarot"}) {
    const std::string out = dir.path(std::to_string(n++));
    auto plan = plan_of(model, out, recipe, {"weights.bits=8", "samples=2", "ctx=16"});
    VN_ASSERT_OK(plan);
    EXPECT_EQ(plan->calibrated, std::string(recipe) != "w8a8-quarot");
    ASSERT_FALSE(plan->notes.empty());
    EXPECT_NE(plan->notes[0].find("head"), std::string::npos);
    const std::int64_t planned = plan->output_bytes;
    VN_ASSERT_OK(quantize(std::move(*plan)));
    const auto made = open_model(out);
    VN_ASSERT_OK(made);
    EXPECT_FALSE((*made)->graph().tied_head);
    EXPECT_EQ((*made)->config()["tie_word_embeddings"], false);
    std::int64_t written = 0;
    for (const std::string& file : list_directory(out))
      written += static_cast<std::int64_t>(testing::read_file(out + "/" + file).size());
    EXPECT_EQ(written, planned);
    const auto logits = testing::model_logits(**made, expected.ids);
    VN_ASSERT_OK(logits);
    // Random weights amplify rounding; logits that lost their rotation would be off by as much as they are large (10).
    EXPECT_LE(testing::largest_difference(*logits, expected.logits), 2) << recipe;
    EXPECT_GT(testing::largest_difference(*logits, expected.logits), 0) << recipe;
  }
}

TEST(RotatedPipeline, RunsRepeatToTheSameBytesAndKnowThatTheyEnded) {
  const testing::TempDir dir;
  const std::string model = testing::golden_folder("llama");
  const auto run = [&](const std::string& out) {
    auto plan = plan_of(model, out, "w4a8-quarot", {"samples=2", "ctx=16"});
    EXPECT_TRUE(plan.ok()) << plan.error().text();
    return quantize(std::move(*plan));
  };
  VN_ASSERT_OK(run(dir.path("a")));
  VN_ASSERT_OK(run(dir.path("b")));
  EXPECT_EQ(testing::read_file(dir.path("a") + "/model.safetensors"),
            testing::read_file(dir.path("b") + "/model.safetensors"));
  const auto again = run(dir.path("a"));  // ended: its journal says so
  VN_ASSERT_OK(again);
  EXPECT_TRUE(again->resumed);
}

TEST(RotatedPipeline, RefusesWhatCannotTurn) {
  const testing::TempDir dir;
  const auto refused = plan_of(testing::golden_folder("opt-post-norm"), dir.path("x"), "w8a8-quarot", {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  const auto seed = plan_of(testing::golden_folder("llama"), dir.path("x"), "w8a8-quarot", {"rotate.seed=-1"});
  ASSERT_FALSE(seed.ok());
  EXPECT_NE(seed.error().message.find("seed"), std::string::npos) << seed.error().text();
}

}  // namespace
}  // namespace vernier
