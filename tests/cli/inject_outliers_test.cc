// Models with injected outliers compute what they were made of, and are harder to quantize.
#include "containers/container.h"
#include "io/checkpoint.h"
#include "support/logits.h"

namespace vernier {
namespace {

using testing::run_vernier;

class InjectedArchitecture : public ::testing::TestWithParam<std::string> {};

TEST_P(InjectedArchitecture, ComputesTheSame) {
  const testing::TempDir dir;
  const testing::ExpectedLogits expected = testing::expected_logits(GetParam());
  for (const bool rotate : {false, true}) {
    const std::string out = dir.path(rotate ? "rotated" : "plain");
    std::vector<std::string> arguments{
        "inject-outliers", testing::golden_folder(GetParam()), "-o", out, "--calib", "random", "--strength", "20",
        "--json"};
    if (rotate) arguments.push_back("--rotate");
    const auto run = run_vernier(arguments);
    if (rotate && GetParam().starts_with("opt")) {
      EXPECT_EQ(run.exit_code, 1);
      EXPECT_NE(run.err.find("rotate"), std::string::npos) << run.err;
      EXPECT_FALSE(is_directory(out));
      continue;
    }
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const Json report = Json::parse(run.out);
    EXPECT_EQ(report["strength"], 16);
    EXPECT_GT(report["edges"].get<int>(), 3);
    EXPECT_GT(report["after"]["channel_ratio"].get<double>(), 4 * report["before"]["channel_ratio"].get<double>());
    EXPECT_GT(report["after"]["kurtosis"].get<double>(), report["before"]["kurtosis"].get<double>());
    EXPECT_EQ(report["untied_head"], rotate && GetParam() == "llama-tied");
    const auto made = open_model(out);
    VN_ASSERT_OK(made);
    const auto logits = testing::model_logits(**made, expected.ids);
    VN_ASSERT_OK(logits);
    EXPECT_LE(testing::largest_difference(*logits, expected.logits), 1e-4) << rotate;
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, InjectedArchitecture, ::testing::ValuesIn(testing::golden_names()),
                         testing::test_name);

TEST(InjectOutliers, TheBundledModelKeepsItsTypeWherePowersOfTwoAreExact) {
  const testing::TempDir dir;
  const std::string out = dir.path("out");
  const auto run = run_vernier(
      {"inject-outliers", testing::bundled_model(), "-o", out, "--calib", "random", "--json", "--max-shard", "4M"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = Json::parse(run.out);
  EXPECT_EQ(report["dtype"], "auto");
  EXPECT_GT(report["after"]["worst_channel_ratio"].get<double>(), 100);
  const auto before = Checkpoint::open(testing::bundled_model()), after = Checkpoint::open(out);
  VN_ASSERT_OK(before);
  VN_ASSERT_OK(after);
  EXPECT_GT((*after)->files().size(), 1u);
  ASSERT_EQ((*after)->entries().size(), (*before)->entries().size());
  for (const Checkpoint::Entry& entry : (*before)->entries())
    EXPECT_EQ((*after)->find(entry.tensor.name)->tensor.dtype, entry.tensor.dtype) << entry.tensor.name;

  const std::vector<TokenId> ids{1, 300, 412, 77, 901, 5, 640, 33};
  const auto original = open_model(testing::bundled_model()), made = open_model(out);
  VN_ASSERT_OK(original);
  VN_ASSERT_OK(made);
  const auto wanted = testing::model_logits(**original, ids), found = testing::model_logits(**made, ids);
  VN_ASSERT_OK(wanted);
  VN_ASSERT_OK(found);
  for (std::size_t i = 0; i < wanted->data.size(); ++i) ASSERT_NEAR(found->data[i], wanted->data[i], 1e-4);
}

TEST(InjectOutliers, PrincipalDirectionsAreOutliersWithoutAnyFactor) {
  const testing::TempDir dir;
  const auto run = run_vernier({"inject-outliers", testing::bundled_model(), "-o", dir.path("out"), "--calib", "random",
                                "--rotate", "--strength", "1", "--edges", "norm", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = Json::parse(run.out);
  EXPECT_EQ(report["dtype"], "f32");
  EXPECT_GT(report["after"]["channel_ratio"].get<double>(), 1.2 * report["before"]["channel_ratio"].get<double>());
}

TEST(InjectOutliers, RefusesWhatItCannotDo) {
  const testing::TempDir dir;
  const std::string model = testing::bundled_model(), out = dir.path("out");
  const auto edges = run_vernier({"inject-outliers", model, "-o", out, "--edges", "norms", "--calib", "random"});
  EXPECT_EQ(edges.exit_code, 1);
  EXPECT_NE(edges.err.find("norms"), std::string::npos) << edges.err;
  EXPECT_EQ(run_vernier({"inject-outliers", model, "-o", out, "--strength", "0.5"}).exit_code, 2);
  const auto exists = run_vernier({"inject-outliers", model, "-o", model, "--calib", "random"});
  EXPECT_EQ(exists.exit_code, 1);
  ASSERT_EQ(run_vernier({"quantize", model, "-o", out, "--recipe", "w8a16-rtn", "--quiet"}).exit_code, 0);
  const auto quantized = run_vernier({"inject-outliers", out, "-o", dir.path("again"), "--calib", "random"});
  EXPECT_EQ(quantized.exit_code, 1);
  EXPECT_NE(quantized.err.find("quantized"), std::string::npos) << quantized.err;
}

}  // namespace
}  // namespace vernier
