// Runs killed at random moments and repeated until they end: the output is that of an undisturbed run, byte for byte.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

#include "support/support.h"

namespace vernier {
namespace {

using testing::run_vernier;

// VERNIER_KILLS asks for more than the few that every run of the suite affords.
int kills_wanted() {
  const char* given = std::getenv("VERNIER_KILLS");
  return given ? std::atoi(given) : 4;
}

std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files[entry.path().filename().string()] = testing::read_file(entry.path().string());
  return files;
}

class Killed : public ::testing::TestWithParam<const char*> {};

TEST_P(Killed, RunsResumeToTheSameBytes) {
  const testing::TempDir dir;
  const std::string model = dir.path("model");
  ASSERT_EQ(run_vernier({"make-model", "--hidden", "64", "--layers", "4", "--intermediate", "160", "--heads", "4",
                         "--kv-heads", "2", "--vocab", "300", "--seed", "5", "-o", model})
                .exit_code,
            0);
  const auto arguments = [&](const std::string& out, const char* threads) {
    return std::vector<std::string>{"quantize", model,       "-o",        dir.path(out), "--recipe", GetParam(),
                                    "--calib",  "random",    "--samples", "8",           "--ctx",    "128",
                                    "--quiet",  "--threads", threads,     "--max-shard", "60K"};
  };
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run_vernier(arguments("calm", "2")).exit_code, 0);
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto calm = files_of(dir.path("calm"));
  ASSERT_GT(calm.size(), 5u) << "shards, an index, a config, a recipe, a tokenizer";

  std::mt19937 random(11);
  int kills = 0;
  for (int round = 0; kills < kills_wanted() && round < 4 * kills_wanted(); ++round) {
    const std::string out = "killed" + std::to_string(round);
    const char* const threads = round % 2 ? "1" : "2";
    // Several kills can hit one run; moments fall anywhere in it.
    for (int attempt = 0; attempt < 8; ++attempt) {
      const double moment = std::uniform_real_distribution<double>(0.005, whole)(random);
      if (run_vernier(arguments(out, threads), moment).exit_code != 137) break;
      ++kills;
      EXPECT_FALSE(std::filesystem::exists(dir.path(out) + "/config.json") &&
                   files_of(dir.path(out)).size() < calm.size())
          << "looks complete and is not";
    }
    const testing::Run last = run_vernier(arguments(out, round % 3 ? threads : "2"));
    ASSERT_EQ(last.exit_code, 0) << last.err;
    const auto found = files_of(dir.path(out));
    ASSERT_EQ(found.size(), calm.size());
    for (const auto& [name, bytes] : calm)
      EXPECT_TRUE(found.at(name) == bytes) << name << " after " << kills << " kills";
  }
  EXPECT_GE(kills, kills_wanted());
}
INSTANTIATE_TEST_SUITE_P(Recipes, Killed,
                         ::testing::Values("w4a16-rtn", "w4a16-gptq", "w4a16-awq", "w8a8-smoothquant", "w-bpw-gptq"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace vernier
