// vernier quantize|plan --target-bpw.
#include <filesystem>
#include <set>

#include "base/json.h"
#include "containers/container.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

class TargetSize : public ::testing::Test {
 protected:
  void SetUp() override {
    const Outcome made =
        run_vernier({"make-model", "--hidden", "64", "--layers", "2", "--intermediate", "160", "--heads", "4",
                     "--kv-heads", "2", "--vocab", "300", "--seed", "5", "-o", model_});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  Outcome run(const std::string& command, const std::string& out, std::vector<std::string> more) const {
    std::vector<std::string> all{command,     model_, "-o",    dir_.path(out), "--calib", "random",
                                 "--samples", "4",    "--ctx", "64",           "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return run_vernier(all);
  }
  Json quantized(const std::string& out, std::vector<std::string> more) const {
    const Outcome outcome = run("quantize", out, std::move(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return parse_json(outcome.out, out).value();
  }
  std::string weights(const std::string& out) const {
    return testing::read_file(dir_.path(out) + "/model.safetensors");
  }

  const testing::TempDir dir_;
  const std::string model_ = dir_.path("model");
};

TEST_F(TargetSize, IsMetFromBelowByGridsThatDiffer) {
  double last = 0;
  for (const double target : {3.0, 4.5, 6.25}) {
    SCOPED_TRACE(target);
    const std::string out = std::to_string(target);
    const Json json = quantized(out, {"--recipe", "w-bpw-gptq", "--target-bpw", std::to_string(target)});
    const Json& allocation = json["allocation"];
    EXPECT_LE(json["bits_per_weight"].get<double>(), target);
    EXPECT_GE(json["bits_per_weight"].get<double>(), 0.99 * target);
    EXPECT_DOUBLE_EQ(allocation["bits_per_weight"].get<double>(), json["bits_per_weight"].get<double>());
    EXPECT_EQ(allocation["costs"], "kl");
    std::set<std::string> grids;
    double sum = 0;
    for (const Json& tensor : allocation["tensors"]) {
      grids.insert(tensor["chosen"]);
      for (const Json& candidate : tensor["candidates"])
        if (candidate["grid"] == tensor["chosen"]) sum += candidate["cost"].get<double>();
    }
    EXPECT_GT(grids.size(), 1u);
    EXPECT_NEAR(sum, allocation["predicted"].get<double>(), 1e-9 * sum);
    for (const Json& tensor : json["tensors"]) EXPECT_TRUE(grids.contains(tensor["grid"])) << tensor["name"];
    if (last > 0) {
      EXPECT_LT(sum, last);
    }
    last = sum;
    VN_EXPECT_OK(open_model(dir_.path(out)));
  }
}

TEST_F(TargetSize, LeavesARecipeThatNeedsNoMeasurement) {
  quantized("first", {"--recipe", "w-bpw-gptq", "--target-bpw", "4"});
  const Json again = quantized("second", {"--recipe", dir_.path("first") + "/recipe.yaml"});
  EXPECT_FALSE(again.contains("allocation"));
  EXPECT_FALSE(file_exists(dir_.path("second.run") + "/sensitivities.jsonl"));
  EXPECT_EQ(weights("second"), weights("first"));
}

TEST_F(TargetSize, IsPlannedWithoutMeasuringAndFromWhatWasMeasured) {
  const std::vector<std::string> options{"--recipe", "w-bpw-gptq", "--target-bpw", "4"};
  const auto plan = [&] {
    const Outcome outcome = run("plan", "out", options);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return parse_json(outcome.out, "plan").value();
  };
  const Json before = plan();
  EXPECT_EQ(before["allocation"]["costs"], "provisional");
  EXPECT_GT(before["allocation"]["measure_flops"].get<double>(), 0);
  EXPECT_NEAR(before["bits_per_weight"].get<double>(), 4, 0.04);
  EXPECT_FALSE(std::filesystem::exists(dir_.path("out.run")));
  const Json run = quantized("out", options);
  const Json after = plan();
  EXPECT_EQ(after["allocation"]["costs"], "kl");
  EXPECT_EQ(after["allocation"]["tensors"], run["allocation"]["tensors"]);
  EXPECT_EQ(after["bits_per_weight"], run["bits_per_weight"]);
}

// What was measured is not measured again, and a run is continued for its own target alone.
TEST_F(TargetSize, ResumesWithTheSameChoice) {
  const std::vector<std::string> options{"--recipe", "w-bpw-gptq", "--target-bpw", "4"};
  const Json calm = quantized("calm", options);
  quantized("out", options);
  const std::string run = dir_.path("out.run"), measured = testing::read_file(run + "/sensitivities.jsonl");
  // As if killed in the middle of the measurement.
  std::filesystem::remove_all(dir_.path("out"));
  for (const char* file : {"/journal.jsonl", "/tensors.jsonl", "/allocation.json"}) std::filesystem::remove(run + file);
  VN_ASSERT_OK(write_file_atomic(run + "/sensitivities.jsonl", measured.substr(0, measured.size() / 2)));
  const Json resumed = quantized("out", options);
  EXPECT_EQ(resumed["allocation"]["tensors"], calm["allocation"]["tensors"]);
  EXPECT_EQ(testing::read_file(run + "/sensitivities.jsonl"), measured);
  EXPECT_EQ(weights("out"), weights("calm"));

  const Outcome other = run_vernier({"quantize", model_, "-o", dir_.path("out"), "--recipe", "w-bpw-gptq", "--calib",
                                     "random", "--samples", "4", "--ctx", "64", "--target-bpw", "5"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("recipe is not what it was"), std::string::npos) << other.err;
  const Outcome samples = run_vernier({"quantize", model_, "-o", dir_.path("out"), "--recipe", "w-bpw-gptq", "--calib",
                                       "random", "--samples", "5", "--ctx", "64", "--target-bpw", "4"});
  EXPECT_EQ(samples.exit_code, 1);
  EXPECT_NE(samples.err.find("--fresh"), std::string::npos) << samples.err;
  EXPECT_EQ(weights("out"), weights("calm"));
}

TEST_F(TargetSize, TakesBlockTypesThatRowsAreWholeBlocksOf) {
  const Json json = quantized("out", {"--recipe", "gguf-bpw-gptq", "--container", "vernier", "--target-bpw", "5.2",
                                      "--set", "sensitivity=hessian"});
  EXPECT_EQ(json["allocation"]["costs"], "hessian");
  EXPECT_LE(json["bits_per_weight"].get<double>(), 5.2);
  EXPECT_GE(json["bits_per_weight"].get<double>(), 0.99 * 5.2);
  for (const Json& tensor : json["allocation"]["tensors"])
    for (const Json& candidate : tensor["candidates"]) EXPECT_NE(candidate["grid"], "q4_k");
  VN_EXPECT_OK(open_model(dir_.path("out")));
}

TEST_F(TargetSize, LeavesWhatOverridesNameAsItIs) {
  const std::string recipe = dir_.path("pinned.yaml");
  VN_ASSERT_OK(write_file_atomic(recipe,
                                 "target_bpw: 4\nweights: {bits: 4, symmetric: false, group: 32}\n"
                                 "overrides:\n  - match: \"*v_proj.weight\"\n    weights: {bits: 8}\n"));
  const Json json = quantized("out", {"--recipe", recipe});
  int pinned = 0;
  for (const Json& tensor : json["allocation"]["tensors"]) {
    if (tensor["name"].get<std::string>().find("v_proj") == std::string::npos) continue;
    EXPECT_EQ(tensor["candidates"].size(), 1u);
    EXPECT_EQ(tensor["chosen"].get<std::string>().substr(0, 4), "int8");
    ++pinned;
  }
  EXPECT_EQ(pinned, 2);
}

TEST_F(TargetSize, RefusesWhatCannotBe) {
  const auto refused = [&](std::vector<std::string> more, int code, const std::string& text) {
    for (const char* command : {"quantize", "plan"}) {
      const Outcome outcome = run(command, "refused", more);
      EXPECT_EQ(outcome.exit_code, code);
      EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
      EXPECT_FALSE(std::filesystem::exists(dir_.path("refused.run")));
    }
  };
  refused({"--recipe", "w-bpw-gptq", "--target-bpw", "2"}, 1, "this recipe's grids give 2.");
  refused({"--recipe", "w-bpw-gptq", "--target-bpw", "9"}, 1, "cannot be reached");
  refused({"--recipe", "w-bpw-gptq", "--target-bpw", "40"}, 2, "from 1 to 16");
  refused({"--recipe", "w-bpw-gptq", "--target-bpw", "-1"}, 2, "--target-bpw");
  refused({"--recipe", "w4a16-awq", "--target-bpw", "4"}, 1, "transforms");
}

}  // namespace
}  // namespace vernier
