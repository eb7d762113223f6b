// Commands on models: evaluation, text, inspection, made models.
#include <cmath>
#include <fstream>

#include "base/json.h"
#include "support/support.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

class CliModel : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 12; ++i) text += "The old man walked along the river to the house, and the night was cold.\n";
    std::ofstream(dir_.path("text.txt")) << text;
  }

  Json json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    auto parsed = parse_json(run.out, "stdout");
    EXPECT_TRUE(parsed.ok()) << run.out;
    return parsed.ok() ? std::move(parsed).value() : Json();
  }
  std::string text() const { return dir_.path("text.txt"); }

  testing::TempDir dir_;
  const std::string model_ = testing::bundled_model();
};

TEST_F(CliModel, EvalHasTheAgreedKeys) {
  const Json figures = json({"eval", model_, "--against", model_, "--text", text(), "--ctx", "64"});
  for (const char* key : {"perplexity", "tokens", "kl_mean", "kl_median", "kl_p99", "top1_agreement",
                          "reference_perplexity", "seconds", "peak_resident_bytes"})
    EXPECT_TRUE(figures.contains(key)) << key;
  EXPECT_GT(figures["perplexity"].get<double>(), 1);
  const Outcome table = run_vernier({"eval", model_, "--text", text(), "--ctx", "64", "--quiet"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.out.find("perplexity"), std::string::npos);
  EXPECT_TRUE(table.err.empty()) << table.err;
}

TEST_F(CliModel, EvalRefusesASmallBudgetAndTakesTheOneItNames) {
  const Outcome refused = run_vernier({"eval", model_, "--text", text(), "--ctx", "64", "--memory", "1M"});
  EXPECT_EQ(refused.exit_code, 1);
  const std::size_t at = refused.err.find("--memory ");
  ASSERT_NE(at, std::string::npos) << refused.err;
  const std::int64_t named_mib = std::stoll(refused.err.substr(at + 9));
  const std::string budget = std::to_string(named_mib + 2) + "M";
  const Json figures = json({"eval", model_, "--text", text(), "--ctx", "64", "--memory", budget});
  EXPECT_LE(figures["peak_resident_bytes"].get<std::int64_t>(), (named_mib + 2) << 20);
}

TEST_F(CliModel, EvalScoresTasks) {
  std::ofstream(dir_.path("tasks.jsonl"))
      << R"({"context": "It was a dark and stormy", "choices": [" of of", " night"], "answer": 1})"
      << "\n";
  const Json figures = json({"eval", model_, "--tasks", dir_.path("tasks.jsonl")});
  EXPECT_EQ(figures["questions"].get<int>(), 1);
  EXPECT_EQ(figures["accuracy"].get<double>(), 1);
}

TEST_F(CliModel, RunIsDeterministic) {
  const std::vector<std::string> greedy{"run", model_, "-p", "It was a dark", "-n", "12"};
  std::vector<std::string> sampled = greedy;
  for (const char* extra : {"--temperature", "1", "--seed", "3"}) sampled.push_back(extra);
  const Json a = json(greedy), b = json(greedy), c = json(sampled), d = json(sampled);
  EXPECT_EQ(a["text"], b["text"]);
  EXPECT_EQ(c["ids"], d["ids"]);
  EXPECT_NE(a["ids"], c["ids"]);
  EXPECT_EQ(a["tokens"].get<int>(), 12);
  // Streamed text is the prompt and the same continuation.
  const Outcome shown = run_vernier(greedy);
  EXPECT_EQ(shown.out, "It was a dark" + a["text"].get<std::string>() + "\n");
}

TEST_F(CliModel, RunContinuesTheGoldenTexts) {
  VN_NEEDS_SHARED();
  for (const char* name : {"books-6m", "stories260k"}) {
    std::ifstream file(testing::shared_dir() + "/golden/" + name + ".json");
    const Json golden = Json::parse(file);
    const Json ours = json({"run", testing::shared_dir() + "/models/" + name, "-p", golden["prompt"], "-n", "64"});
    EXPECT_EQ(ours["ids"], golden["greedy_continuation"]) << name;
    EXPECT_EQ(golden["prompt"].get<std::string>() + ours["text"].get<std::string>(), golden["greedy_text"]) << name;
  }
}

TEST_F(CliModel, InspectShowsTensorsAndOneTensor) {
  const Json whole = json({"inspect", model_});
  EXPECT_EQ(whole["architecture"], "llama");
  EXPECT_EQ(whole["tensors"].size(), 56u);
  for (const Json& tensor : whole["tensors"]) {
    EXPECT_EQ(tensor["format"], "bf16");
    EXPECT_GE(tensor["absmax"].get<double>(), tensor["rms"].get<double>());
  }
  const Json one = json({"inspect", model_, "model.layers.0.mlp.down_proj.weight"});
  std::int64_t counted = 0;
  for (const Json& count : one["histogram"]["counts"]) counted += count.get<std::int64_t>();
  EXPECT_EQ(counted, 256 * 768);
  EXPECT_EQ(one["stored"].size(), 1u);
  EXPECT_EQ(run_vernier({"inspect", model_}).exit_code, 0);
  EXPECT_EQ(run_vernier({"inspect", model_, "model.norm.weight"}).exit_code, 0);
}

// What compressed-tensors cannot store goes into the own container, and every command reads it.
TEST_F(CliModel, DualGrainsAreQuantizedInspectedEvaluatedAndRun) {
  const std::string out = dir_.path("dual");
  const Json done = json({"quantize", model_, "-o", out, "--recipe", "w4a8-dgq", "--calib", text(), "--samples", "4",
                          "--ctx", "32", "--set", "group=32"});
  EXPECT_EQ(done["container"], "vernier");
  std::size_t dual = 0;
  const Json inspected = json({"inspect", out});
  for (const Json& tensor : inspected["tensors"]) dual += tensor["format"] == "dual4 asym g32 f32";
  EXPECT_EQ(dual, 6u * 7);
  EXPECT_LT(json({"eval", out, "--text", text(), "--ctx", "64", "--against", model_})["kl_mean"].get<double>(), 0.1);
  EXPECT_EQ(json({"run", out, "-p", "It was a dark", "-n", "3"})["tokens"].get<int>(), 3);
}

class MadeModel : public CliModel, public ::testing::WithParamInterface<const char*> {};

TEST_P(MadeModel, LoadsEvaluatesAndIsSeeded) {
  const auto make = [&](const std::string& name, const char* seed) {
    return json({"make-model",
                 "--arch",
                 GetParam(),
                 "--hidden",
                 "32",
                 "--layers",
                 "2",
                 "--intermediate",
                 "48",
                 "--heads",
                 "4",
                 "--kv-heads",
                 "2",
                 "--vocab",
                 "300",
                 "--experts",
                 "3",
                 "--seed",
                 seed,
                 "-o",
                 dir_.path(name)});
  };
  const Json made = make("a", "1");
  EXPECT_GT(made["parameters"].get<std::int64_t>(), 300 * 32);
  make("b", "1");
  make("c", "2");
  const auto against = [&](const char* a, const char* b) {
    return json({"eval", dir_.path(a), "--against", dir_.path(b), "--text", text(), "--ctx", "64"});
  };
  const Json same = against("a", "b"), other = against("a", "c");
  // Near-zero weights predict nearly uniformly.
  EXPECT_NEAR(std::log(same["perplexity"].get<double>()), std::log(300), 0.2);
  EXPECT_EQ(same["kl_mean"].get<double>(), 0);
  EXPECT_GT(other["kl_mean"].get<double>(), 0);
  EXPECT_EQ(run_vernier({"make-model", "--arch", GetParam(), "-o", dir_.path("a")}).exit_code, 1) << "it exists";
}
INSTANTIATE_TEST_SUITE_P(Architectures, MadeModel,
                         ::testing::Values("llama", "mistral", "mixtral", "opt", "qwen2", "qwen3"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(CliModel, ShardsDoNotChangeAMadeModel) {
  const std::vector<std::string> common{"make-model", "--hidden", "32", "--layers", "3",  "--intermediate",
                                        "64",         "--heads",  "2",  "--vocab",  "300"};
  std::vector<std::string> one = common, many = common;
  for (const std::string& extra : {std::string("-o"), dir_.path("one")}) one.push_back(extra);
  for (const std::string& extra :
       {std::string("-o"), dir_.path("many"), std::string("--max-shard"), std::string("20K")})
    many.push_back(extra);
  EXPECT_EQ(json(one)["files"].get<int>(), 1);
  EXPECT_GT(json(many)["files"].get<int>(), 3);
  const Json figures =
      json({"eval", dir_.path("one"), "--against", dir_.path("many"), "--text", text(), "--ctx", "64"});
  EXPECT_EQ(figures["kl_mean"].get<double>(), 0);
}

TEST_F(CliModel, UpcycledMixturesAreTheSameFunction) {
  const Json made = json({"make-model", "--upcycle", model_, "--experts", "4", "-o", dir_.path("moe")});
  EXPECT_EQ(made["architecture"], "mixtral");
  const Json figures = json({"eval", dir_.path("moe"), "--against", model_, "--text", text(), "--ctx", "64"});
  EXPECT_LT(figures["kl_mean"].get<double>(), 1e-9);
  EXPECT_EQ(figures["top1_agreement"].get<double>(), 1);
}

TEST_F(CliModel, OnlyDenseFloatModelsAreUpcycled) {
  json({"make-model", "--arch", "qwen2", "--hidden", "32", "--layers", "1", "--intermediate", "48", "--heads", "4",
        "--vocab", "300", "-o", dir_.path("qwen")});
  const Outcome refused = run_vernier({"make-model", "--upcycle", dir_.path("qwen"), "-o", dir_.path("moe")});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("qwen2"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace vernier
