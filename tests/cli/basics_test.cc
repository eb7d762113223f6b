#include "base/json.h"
#include "support/support.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

const std::vector<std::string>& command_names() {
  static const std::vector<std::string> names{"bench",      "doctor", "eval", "inspect",  "list",
                                              "make-model", "pack",   "plan", "quantize", "run"};
  return names;
}

Json parsed(const Outcome& run) {
  auto json = parse_json(run.out, "stdout");
  EXPECT_TRUE(json.ok()) << run.out << run.err;
  return json.ok() ? std::move(json).value() : Json();
}

TEST(Cli, HelpAndVersion) {
  const Outcome help = run_vernier({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const std::string& name : command_names()) {
    EXPECT_NE(help.out.find(name), std::string::npos) << name;
    const Outcome own = run_vernier({name, "--help"});
    EXPECT_EQ(own.exit_code, 0);
    for (const char* part : {"Examples:", "--json", "--threads"})
      EXPECT_NE(own.out.find(part), std::string::npos) << name << " " << part;
  }
  const Outcome version = run_vernier({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out.rfind("vernier ", 0), 0u);
}

TEST(Cli, UsageErrorsExitWithTwo) {
  const std::string model = testing::bundled_model();
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"nosuch"},
      {"eval"},
      {"eval", model},
      {"eval", model, "--against", model, "--tasks", "t"},
      {"eval", model, "--text", "t", "--protocol", "other"},
      {"eval", model, "--text", "t", "--memory", "much"},
      {"eval", model, "--text", "t", "--ctx", "1"},
      {"eval", model, "--text", "t", "--threads", "0"},
      {"run", model},
      {"run", model, "-p", "a", "--top-p", "2"},
      {"run", model, "-p", "a", "--chat"},
      {"run", model, "-p", "a", "--system", "b"},
      {"run", model, "-p", "a", "--kv", "int5"},
      {"run", model, "-p", "a", "--stop", ""},
      {"run", model, "-p", "a", "--threads", "0"},
      {"run", model, "-p", "a", "--repetition-penalty", "0"},
      {"eval", model, "--tasks", "t", "--kv", "int8"},
      {"list", "colours"},
      {"make-model", "--hidden", "0", "-o", "x"},
      {"quantize", model},
      {"quantize", model, "--recipe", "nosuch"},
      {"plan", model, "--recipe", "w4a16-rtn", "--set", "grupo=64"},
  };
  for (const auto& arguments : wrong) {
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 2) << ::testing::PrintToString(arguments) << run.err;
    EXPECT_FALSE(run.err.empty());
    EXPECT_TRUE(run.out.empty()) << run.out;
  }
}

TEST(Cli, FailuresExitWithOneAndSayWhy) {
  const std::string model = testing::bundled_model();
  const testing::TempDir dir;
  const std::vector<std::pair<std::vector<std::string>, std::string>> failing{
      {{"inspect", dir.path("absent")}, "absent"},
      {{"inspect", model, "model.layers.0.mlp.down_proj.wait"}, "model.layers.0.mlp.down_proj.weight"},
      {{"eval", model, "--text", dir.path("absent.txt")}, "absent.txt"},
      {{"run", dir.path(), "-p", "a"}, "config.json"},
      {{"make-model", "--vocab", "100", "-o", dir.path("m")}, "259"},
      {{"make-model", "--arch", "nosuch", "-o", dir.path("m")}, "nosuch"},
      {{"make-model", "-o", "/proc/vernier/m"}, "/proc/vernier"},
  };
  for (const auto& [arguments, words] : failing) {
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 1) << run.err;
    EXPECT_EQ(run.err.rfind("vernier: ", 0), 0u) << run.err;
    EXPECT_NE(run.err.find(words), std::string::npos) << run.err;
  }
}

TEST(Cli, ListsAreTablesAndJson) {
  const std::pair<const char*, const char*> known[] = {
      {"methods", "gptq"},       {"formats", "int"},       {"architectures", "mixtral"},
      {"containers", "vernier"}, {"recipes", "w4a16-rtn"}, {"metrics", "perplexity"},
  };
  for (const auto& [what, name] : known) {
    const Outcome table = run_vernier({"list", what});
    EXPECT_EQ(table.exit_code, 0);
    EXPECT_NE(table.out.find(name), std::string::npos) << table.out;
    bool found = false;
    for (const Json& row : parsed(run_vernier({"list", what, "--json"}))) found |= row["name"] == name;
    EXPECT_TRUE(found) << what;
  }
}

TEST(Cli, DoctorReportsTheMachine) {
  const Json json = parsed(run_vernier({"doctor", "--no-measure", "--json", "--threads", "1"}));
  EXPECT_EQ(json["threads"].get<int>(), 1);
  for (const char* key : {"version", "cpu", "features", "isa", "amx_tiles", "cores", "libraries", "vernier_learn"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["libraries"]["onednn"].get<std::string>().find("not"), std::string::npos);
}

TEST(Cli, PlanReadsNoWeightsAndSpeaksJson) {
  const Outcome run = run_vernier({"plan", testing::bundled_model(), "--recipe", "w4a16-rtn", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(parsed(run).is_object());
}

TEST(Cli, QuantizeThenEvaluate) {
  const testing::TempDir dir;
  const std::string model = testing::bundled_model(), out = dir.path("w8");
  const Outcome run = run_vernier({"quantize", model, "-o", out, "--recipe", "w8a16-rtn", "--json", "--quiet"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json summary = parsed(run);
  EXPECT_EQ(summary["out"].get<std::string>(), out);
  EXPECT_NEAR(summary["bits_per_weight"].get<double>(), 8, 0.5);
  EXPECT_FALSE(summary["tensors"].empty());
  std::string text;
  for (int i = 0; i < 20; ++i) text += "The night was cold, and the old man was alone in the house. ";
  ASSERT_EQ(run_vernier({"inspect", out, "--no-stats"}).exit_code, 0);
  std::FILE* file = std::fopen(dir.path("t.txt").c_str(), "wb");
  std::fputs(text.c_str(), file);
  std::fclose(file);
  const Json figures =
      parsed(run_vernier({"eval", out, "--against", model, "--text", dir.path("t.txt"), "--ctx", "64", "--json"}));
  EXPECT_GT(figures["kl_mean"].get<double>(), 0);
  EXPECT_LT(figures["kl_mean"].get<double>(), 1e-2);
}

TEST(CliList, TheMatrixOfTheDocumentationIsCurrent) {
  const testing::Run run = testing::run_vernier({"list", "grids"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_NE(testing::read_file(testing::source_dir() + "/docs/containers.md").find("```\n" + run.out + "```\n"),
            std::string::npos)
      << "docs/containers.md should hold what `vernier list grids` prints:\n"
      << run.out;
}

}  // namespace
}  // namespace vernier
