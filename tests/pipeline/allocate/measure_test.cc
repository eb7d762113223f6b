// What a measurement says of a model's tensors, and how it is kept.
#include <cmath>
#include <fstream>
#include <map>

#include "../block_engine_fixture.h"
#include "io/files.h"
#include "pipeline/allocate/divergence.h"
#include "pipeline/allocate/measure.h"
#include "pipeline/allocate/sensitivity_file.h"
#include "support/support.h"

namespace vernier {
namespace {

constexpr std::int64_t samples = 4, ctx = 32;

struct Model {
  std::unique_ptr<testing::FloatSource> source;
  std::unique_ptr<Checkpoint> checkpoint;
  CalibrationSet calibration;
  std::unique_ptr<Executor> executor = make_core_executor();
  Recipe recipe;

  static Model bundled() {
    Model model;
    model.source = testing::FloatSource::open(testing::bundled_model()).value();
    model.checkpoint = Checkpoint::open(testing::bundled_model()).value();
    model.calibration = testing::random_tokens(samples, ctx, model.source->graph().vocab);
    model.recipe.weights.symmetric = false;
    model.recipe.weights.group = 64;
    model.recipe.calibration.samples = samples;
    model.recipe.calibration.ctx = ctx;
    return model;
  }
  // Candidates of one tensor.
  AllocatedTensor tensor(const std::string& name, std::initializer_list<int> widths) const {
    AllocatedTensor made{name, checkpoint->find(name)->tensor.shape, {}};
    for (const int bits : widths) {
      CandidateGrid candidate{recipe.weights, {"int", bits, false, 64, DType::bf16}, 0};
      candidate.weights.bits = bits;
      candidate.bits = bits * made.shape.elements();
      made.candidates.push_back(candidate);
    }
    return made;
  }
  MeasureInput input(const testing::TempDir& dir, bool divergence) const {
    return {*source, calibration, *executor, recipe, dir.path(), divergence};
  }
};

using Found = std::map<std::size_t, std::vector<Sensitivity>>;

Found measure(const MeasureInput& input, const std::vector<AllocatedTensor>& tensors, const Found& known = {}) {
  Found found = known;
  VN_EXPECT_OK(measure_sensitivities(
      input, tensors, [&](std::size_t tensor) { return known.count(tensor) > 0; },
      [&](std::size_t tensor, std::vector<Sensitivity> one) {
        EXPECT_FALSE(found.count(tensor)) << "measured twice";
        found[tensor] = std::move(one);
        return Status();
      }));
  return found;
}

const std::string kEmbedding = "model.embed_tokens.weight", kFirst = "model.layers.0.self_attn.q_proj.weight",
                  kLast = "model.layers.5.mlp.down_proj.weight";

TEST(Divergence, IsZeroForTheModelItselfAndGrowsWithTheError) {
  const Model model = Model::bundled();
  const auto walk = OutputDivergence::make(*model.source, model.calibration, *model.executor, 64);
  VN_ASSERT_OK(walk);
  EXPECT_EQ((*walk)->tokens(), 64);
  const auto scaled = [&](const std::string& name, float factor) {
    const auto matrix = model.source->matrix(name).value();
    Tensor changed(DType::f32, {matrix->rows(), matrix->cols()});
    matrix->decode_rows(0, matrix->rows(), changed.as<float>().data());
    for (float& value : changed.as<float>()) value *= factor;
    return (*walk)->with(name, dense_matrix(std::move(changed))).value();
  };
  EXPECT_NEAR(scaled(kEmbedding, 1), 0, 1e-9);
  VN_ASSERT_OK((*walk)->advance());
  EXPECT_NEAR(scaled(kFirst, 1), 0, 1e-9);
  const double slightly = scaled(kFirst, 0.99f), badly = scaled(kFirst, 0.5f);
  EXPECT_GT(slightly, 1e-8);
  EXPECT_GT(badly, 100 * slightly);
}

TEST(Sensitivity, FallsWithBitsAndIsTheSameWhenContinued) {
  const Model model = Model::bundled();
  const testing::TempDir dir;
  const std::vector<AllocatedTensor> tensors{model.tensor(kEmbedding, {2, 4, 8}), model.tensor(kFirst, {2, 3, 4, 6, 8}),
                                             model.tensor(kLast, {4}), model.tensor(kLast, {2, 8})};
  for (const bool divergence : {true, false}) {
    SCOPED_TRACE(divergence);
    const Found whole = measure(model.input(dir, divergence), tensors);
    EXPECT_EQ(whole.size(), 3u) << "a tensor without a choice is not measured";
    for (const auto& [t, candidates] : whole) {
      ASSERT_EQ(candidates.size(), tensors[t].candidates.size());
      for (std::size_t c = 0; c < candidates.size(); ++c) {
        EXPECT_GT(candidates[c].cost, 0);
        EXPECT_EQ(candidates[c].measured, divergence && (c == 0 || c == candidates.size() / 2));
        if (c == 0) continue;
        EXPECT_LT(candidates[c].cost, candidates[c - 1].cost);
        EXPECT_LT(candidates[c].error, candidates[c - 1].error);
      }
    }
    const Found continued = measure(model.input(dir, divergence), tensors, {{1, whole.at(1)}});
    for (const auto& [t, candidates] : whole)
      for (std::size_t c = 0; c < candidates.size(); ++c) EXPECT_EQ(continued.at(t)[c].cost, candidates[c].cost);
  }
  EXPECT_TRUE(list_directory(dir.path()).empty()) << "spill files stay";
}

TEST(Sensitivity, BetweenTwoMeasurementsTheErrorTells) {
  std::vector<Sensitivity> line{{8, 4, true}, {0, 2, false}, {1, 1, true}, {0, 0.25, false}, {0, 16, false}};
  interpolate_costs(line);
  EXPECT_DOUBLE_EQ(line[0].cost, 8);
  EXPECT_NEAR(line[1].cost, std::sqrt(8), 1e-12);  // factors 2 at error 4, 1 at error 1
  EXPECT_DOUBLE_EQ(line[2].cost, 1);
  EXPECT_NEAR(line[3].cost, 0.25, 1e-12);
  EXPECT_NEAR(line[4].cost, 32, 1e-9);
  std::vector<Sensitivity> exact{{0, 0, true}, {0, 0, false}};
  interpolate_costs(exact);
  EXPECT_EQ(exact[1].cost, 0);
}

TEST(SensitivityFile, ContinuesAfterATornLineAndForgetsOtherRuns) {
  const Model model = Model::bundled();
  const testing::TempDir dir;
  const std::string path = dir.path("sensitivities.jsonl");
  const std::vector<AllocatedTensor> tensors{model.tensor(kFirst, {2, 4}), model.tensor(kLast, {4}),
                                             model.tensor(kEmbedding, {2, 8})};
  const Json identity = {{"source", "a"}};
  const auto open = [&](const Json& id) { return SensitivityFile::open(path, id, tensors).value(); };
  const std::vector<Sensitivity> one{{0.25, 0.5, true}, {1e-3, 1e-2, false}};
  {
    SensitivityFile file = open(identity);
    EXPECT_FALSE(file.matches());
    VN_ASSERT_OK(file.append(0, one));
    EXPECT_TRUE(file.matches());
    EXPECT_FALSE(file.complete());
  }
  const std::string intact = testing::read_file(path);
  std::ofstream(path, std::ios::app) << intact.substr(intact.find('\n') + 1, 40);
  SensitivityFile file = open(identity);
  EXPECT_EQ(testing::read_file(path), intact);
  ASSERT_EQ(file.at(0).size(), 2u);
  EXPECT_EQ(file.at(0)[1].cost, 1e-3);
  EXPECT_TRUE(file.at(0)[0].measured);
  EXPECT_TRUE(file.at(2).empty());
  const std::string before = file.fingerprint();
  VN_ASSERT_OK(file.append(2, one));
  EXPECT_TRUE(file.complete());
  EXPECT_NE(file.fingerprint(), before);
  EXPECT_EQ(open(identity).fingerprint(), file.fingerprint());

  const SensitivityFile other = open({{"source", "b"}});
  EXPECT_FALSE(other.matches());
  EXPECT_TRUE(other.at(0).empty());
  for (const char* line :
       {"{\"name\":7}", "[]", "{\"name\":\"model.layers.0.self_attn.q_proj.weight\",\"candidates\":{}}",
        "{\"name\":\"model.layers.0.self_attn.q_proj.weight\",\"candidates\":[1,2]}"}) {
    std::ofstream(path) << dump_json(identity, -1) << "\n" << line << "\n";
    EXPECT_TRUE(open(identity).at(0).empty()) << line;
  }
}

}  // namespace
}  // namespace vernier
