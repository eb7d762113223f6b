// vernier pack and bench: what kernels read in place is the same model.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/json.h"
#include "support/support.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

class Pack : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run_vernier({"make-model", "--hidden", "128", "--layers", "2", "--intermediate", "192", "--heads", "4",
                           "--kv-heads", "2", "--vocab", "300", "-o", model_})
                  .exit_code,
              0);
    std::ofstream text(dir_.path("text.txt"));
    for (int i = 0; i < 12; ++i) text << "The old man walked along the river to the house, and the night was cold.\n";
  }
  Json json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.exit_code == 0 ? Json::parse(run.out) : Json();
  }
  void quantize(const std::string& recipe, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"quantize", model_,      "-o", quantized_, "--recipe", recipe,   "--calib",
                                       "random",   "--samples", "4",  "--ctx",    "32",       "--fresh"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    json(arguments);
  }
  double kl(const std::string& model, const std::string& reference) {
    return json({"eval", model, "--against", reference, "--text", dir_.path("text.txt"), "--ctx", "64"})["kl_mean"]
        .get<double>();
  }

  testing::TempDir dir_;
  const std::string model_ = dir_.path("model"), quantized_ = dir_.path("quantized"), packed_ = dir_.path("packed");
};

TEST_F(Pack, CodesStayWhatTheyWere) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"w4a16-rtn", {"--set", "group=32"}},
      {"w3a16-rtn", {"--set", "group=64"}},
      {"w2a16-rtn", {"--set", "group=32"}},
      {"w8a16-rtn", {}},
      {"w4a16-rtn", {"--set", "group=channel"}},
      {"w4a16-gptq", {"--set", "group=32", "--set", "weights.symmetric=false"}},
  };
  for (const auto& [recipe, sets] : cases) {
    quantize(recipe, sets);
    std::filesystem::remove_all(packed_);
    const Json packed = json({"pack", quantized_, "-o", packed_});
    EXPECT_EQ(packed["quantized_tensors"].get<int>(), 14) << recipe;
    EXPECT_EQ(kl(packed_, quantized_), 0) << recipe;
    const std::string names = run_vernier({"inspect", packed_, "--no-stats"}).out;
    EXPECT_NE(names.find("int"), std::string::npos) << names;
  }
}

TEST_F(Pack, QuantizeWritesTheSameBytes) {
  quantize("w4a16-rtn", {"--set", "group=32"});
  json({"pack", quantized_, "-o", packed_});
  quantize("w4a16-rtn", {"--set", "group=32", "--container", "vernier"});
  EXPECT_TRUE(testing::read_file(packed_ + "/model.safetensors") ==
              testing::read_file(quantized_ + "/model.safetensors"));
}

TEST_F(Pack, AHeadOfItsOwnIsRounded) {
  quantize("w4a16-rtn", {"--set", "group=32"});
  EXPECT_EQ(json({"pack", quantized_, "-o", packed_, "--head", "8"})["quantized_tensors"].get<int>(), 15);
  const double loss = kl(packed_, quantized_);
  EXPECT_GT(loss, 0);
  EXPECT_LT(loss, 1e-4);
  const std::string again = dir_.path("again");  // from a packed model: its panels are copied
  json({"pack", packed_, "-o", again});
  EXPECT_TRUE(testing::read_file(packed_ + "/model.safetensors") == testing::read_file(again + "/model.safetensors"));
}

TEST_F(Pack, IntegerInputsStayCloseToTheirSimulation) {
  quantize("w8a8-smoothquant", {"--container", "vernier"});
  const std::string simulated = dir_.path("simulated");
  json({"quantize", model_, "-o", simulated, "--recipe", "w8a8-smoothquant", "--calib", "random", "--samples", "4",
        "--ctx", "32", "--container", "compressed-tensors"});
  // The two differ in the lowest activation code, which kernels do not use.
  EXPECT_LT(kl(quantized_, simulated), 1e-5);
}

TEST_F(Pack, KernelsScoreLikeTheirSimulation) {
  quantize("w4a8-dgq", {"--set", "group=64", "--container", "vernier"});
  const auto perplexity = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{"eval", quantized_, "--text", dir_.path("text.txt"), "--ctx", "64"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json(arguments)["perplexity"].get<double>();
  };
  const double kernels = perplexity({}), simulated = perplexity({"--simulate"});
  EXPECT_NEAR(kernels / simulated, 1, 1e-4);
  EXPECT_NE(kernels, simulated);  // sums in another order
}

TEST_F(Pack, RefusesWhatItCannotRead) {
  const Outcome exists = run_vernier({"pack", model_, "-o", model_});
  EXPECT_EQ(exists.exit_code, 1);
  EXPECT_NE(exists.err.find("exists"), std::string::npos);
  quantize("w4a16-rtn", {"--set", "group=32", "--container", "vernier"});
  const std::string config = testing::read_file(quantized_ + "/config.json");
  const auto refused = [&](const std::string& from, const std::string& to, const char* word) {
    std::string changed = config;
    const std::size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::ofstream(quantized_ + "/config.json") << changed.replace(at, from.size(), to);
    const Outcome run = run_vernier({"run", quantized_, "-p", "a"});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
  };
  refused("\"panel_layout\": 1", "\"panel_layout\": 9", "panel_layout");
  refused("\"group\": 32", "\"group\": 64", "panels");
}

TEST_F(Pack, BenchComparesWithTheMachine) {
  quantize("w4a16-rtn", {"--set", "group=32", "--container", "vernier"});
  const Json speed =
      json({"bench", quantized_, "--prompt", "32", "--generate", "4", "--repetitions", "2", "--batch", "2"});
  for (const char* key : {"prefill_tokens_per_s", "decode_tokens_per_s", "machine_read_gb_per_s",
                          "decode_read_gb_per_s", "int8_gemm_gops", "prefill_gops", "prefill_gemm_gops"})
    EXPECT_GT(speed[key].get<double>(), 0) << key;
  EXPECT_FALSE(speed["isa"].get<std::string>().empty());
  const Outcome forced = run_vernier({"bench", quantized_, "--isa", "nosuch"});
  EXPECT_EQ(forced.exit_code, 1);
  EXPECT_NE(forced.err.find("nosuch"), std::string::npos);
}

TEST(BenchKernels, GivesEachKernelItsLimit) {
  const Outcome run = run_vernier({"bench", "kernels", "--only", "rms_norm", "--json", "--quiet"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json json = parse_json(run.out, "stdout").value();
  std::set<std::string> isas;
  for (const Json& row : json["kernels"]) {
    EXPECT_EQ(row["kernel"], "rms_norm");
    EXPECT_GT(row["rate"].get<double>(), 0);
    EXPECT_GT(row["share"].get<double>(), 0);
    isas.insert(row["isa"]);
  }
  EXPECT_TRUE(isas.contains("scalar"));
  EXPECT_EQ(isas.size(), json["kernels"].size());

  const Outcome none = run_vernier({"bench", "kernels", "--only", "nosuch", "--quiet"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.err.find("nosuch"), std::string::npos) << none.err;
}

TEST(BenchKernels, AnInstructionSetTheCpuLacksIsNamed) {
  const char* before = std::getenv("VERNIER_ISA");
  const std::string kept = before ? before : "";
  ::setenv("VERNIER_ISA", "avx9000", 1);
  const Outcome run = run_vernier({"doctor", "--no-measure"});
  if (before)
    ::setenv("VERNIER_ISA", kept.c_str(), 1);
  else
    ::unsetenv("VERNIER_ISA");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("VERNIER_ISA avx9000"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("it has scalar"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace vernier
