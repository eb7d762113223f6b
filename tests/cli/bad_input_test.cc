// What a user can get wrong when quantizing: each is named, and nothing partial is left looking complete.
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "support/support.h"

namespace vernier {
namespace {

namespace fs = std::filesystem;
using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::read_file;
using testing::run_vernier;

void write_file(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

class BadInput : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run_vernier({"make-model", "--hidden", "64", "--layers", "2", "--intermediate", "96", "--heads", "4",
                           "--vocab", "300", "-o", model_})
                  .exit_code,
              0);
  }

  std::vector<std::string> command(const std::string& recipe, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments{"quantize",  model_, "-o",    out_, "--recipe", recipe,
                                       "--samples", "4",    "--ctx", "32", "--quiet"};
    if (std::find(more.begin(), more.end(), "--calib") == more.end()) {
      arguments.push_back("--calib");
      arguments.push_back("random");
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // Fails, names `words`, and leaves no output that a reader would open.
  void refuses(const std::vector<std::string>& arguments, const std::vector<std::string>& words, int exit_code = 1) {
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, exit_code) << run.err;
    for (const std::string& word : words) EXPECT_NE(run.err.find(word), std::string::npos) << word << " in " << run.err;
    EXPECT_FALSE(fs::exists(out_ + "/config.json"));
    EXPECT_FALSE(fs::exists(out_ + "/model.safetensors"));
  }
  void works(const std::vector<std::string>& arguments) {
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_TRUE(fs::exists(out_ + "/config.json"));
  }
  // Writes `value` over the first element of a tensor.
  void patch(const std::string& tensor, std::uint16_t value) {
    std::string bytes = read_file(weights());
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    const Json json = Json::parse(bytes.substr(8, header));
    const std::size_t at = 8 + header + json[tensor]["data_offsets"][0].get<std::size_t>();
    std::memcpy(bytes.data() + at, &value, sizeof value);
    write_file(weights(), bytes);
  }
  void set_config(const std::string& key, Json value) {
    Json config = Json::parse(read_file(model_ + "/config.json"));
    config[key] = std::move(value);
    write_file(model_ + "/config.json", config.dump());
  }
  std::string weights() const { return model_ + "/model.safetensors"; }

  testing::TempDir dir_;
  const std::string model_ = dir_.path("model"), out_ = dir_.path("out");
};

#ifdef __SANITIZE_ADDRESS__
constexpr bool own_memory_only = false;  // the sanitizer's shadow is resident, too
#else
constexpr bool own_memory_only = true;
#endif

constexpr const char* recipes[] = {"w4a16-rtn", "w4a16-gptq"};
constexpr const char* projection = "model.layers.1.mlp.up_proj.weight";

TEST_F(BadInput, TruncatedFile) {
  const std::string whole = read_file(weights());
  for (const std::size_t length :
       {whole.size() - 1, whole.size() / 2, std::size_t{100}, std::size_t{7}, std::size_t{0}}) {
    write_file(weights(), whole.substr(0, length));
    for (const char* recipe : recipes) refuses(command(recipe), {weights()});
  }
}

TEST_F(BadInput, WeightsThatAreNotFiniteAreNamed) {
  const std::pair<std::uint16_t, const char*> values[] = {{0x7FC0, "nan"}, {0x7F80, "inf"}};
  const std::string good = read_file(weights());
  for (const auto& [value, word] : values) {
    for (const char* tensor : {projection, "model.layers.0.input_layernorm.weight", "lm_head.weight"}) {
      write_file(weights(), good);
      patch(tensor, value);
      for (const char* recipe : recipes) refuses(command(recipe, {"--fresh"}), {tensor, word, "row 0"});
    }
  }
}

TEST_F(BadInput, ShapesThatContradictTheConfig) {
  set_config("intermediate_size", 128);
  for (const char* recipe : recipes) refuses(command(recipe), {"mlp", "128", "96"});
}

TEST_F(BadInput, MissingTensor) {
  set_config("num_hidden_layers", 3);
  for (const char* recipe : recipes) refuses(command(recipe), {"model.layers.2."});
}

TEST_F(BadInput, UnexpectedTensorsAreKeptAndReported) {
  set_config("num_hidden_layers", 1);
  const Outcome plan = run_vernier({"plan", model_, "--recipe", "w4a16-rtn"});
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_NE(plan.out.find("note"), std::string::npos) << plan.out;
  works(command("w4a16-gptq"));
  const Outcome kept = run_vernier({"inspect", out_, "--no-stats"});
  EXPECT_NE(kept.out.find("model.layers.1.mlp.up_proj.weight"), std::string::npos) << kept.out << kept.err;
}

TEST_F(BadInput, CalibrationTexts) {
  const std::string text = dir_.path("calib.txt");
  refuses(command("w4a16-gptq", {"--calib", text}), {text});
  write_file(text, "");
  refuses(command("w4a16-gptq", {"--calib", text}), {text});
  write_file(text, "Far too short.");
  refuses(command("w4a16-gptq", {"--calib", text}), {text, "--ctx"});
  std::string bytes;
  for (int i = 0; i < 40; ++i) bytes += "a line with \xff\xfe bytes that are no text \xc3\x28\n";
  write_file(text, bytes);
  works(command("w4a16-gptq", {"--calib", text}));
}

TEST_F(BadInput, AnArchitectureNobodyDescribedIsRoundedButNotCalibrated) {
  set_config("model_type", "nosuch");
  set_config("architectures", Json::array({"NoSuchForCausalLM"}));
  refuses(command("w4a16-gptq"), {"nosuch", "w4a16-rtn"});
  works(command("w4a16-rtn"));
}

TEST_F(BadInput, BitsAndKeysThatDoNotExist) {
  refuses(command("w4a16-rtn", {"--set", "weights.bits=9"}), {"weights.bits", "9"}, 2);
  refuses(command("w4a16-rtn", {"--set", "weights.bits=1"}), {"weights.bits", "1"}, 2);
  refuses(command("w4a16-rtn", {"--set", "weights.gruop=64"}), {"gruop", "group"}, 2);
  write_file(dir_.path("r.yaml"), "name: mine\nwieghts:\n  bits: 4\n");
  refuses(command(dir_.path("r.yaml")), {"wieghts", "weights"}, 2);
}

TEST_F(BadInput, OutputsOfOthersStay) {
  fs::create_directories(out_);
  write_file(out_ + "/letter.txt", "mine");
  refuses(command("w4a16-rtn"), {out_, "exists", "-o"});
  refuses(command("w4a16-rtn", {"--fresh"}), {out_, "exists"});
  EXPECT_EQ(read_file(out_ + "/letter.txt"), "mine");
}

TEST_F(BadInput, ABudgetTooSmallNamesTheSmallestThatWorks) {
  for (const char* recipe : recipes) {
    std::vector<std::string> plan = command(recipe, {"--memory", "1M"});
    plan[0] = "plan";
    const Outcome refused = run_vernier(plan);
    EXPECT_EQ(refused.exit_code, 1);
    const std::size_t at = refused.err.find("--memory ");
    ASSERT_NE(at, std::string::npos) << refused.err;
    std::string named = refused.err.substr(at + 9);
    named = named.substr(0, named.find_first_of(" \n,;."));
    const Outcome run = run_vernier(command(recipe, {"--memory", named, "--fresh", "--json"}));
    ASSERT_EQ(run.exit_code, 0) << named << ": " << run.err;
    const std::int64_t mib = std::stoll(named);
    EXPECT_EQ(named.back(), 'M') << named;
    if (own_memory_only) {
      EXPECT_LE(Json::parse(run.out)["peak_resident_bytes"].get<std::int64_t>(), mib << 20);
    }
  }
}

TEST_F(BadInput, AFinishedRunIsNotMadeAgainAndNotMixedWithAnother) {
  works(command("w4a16-gptq"));
  const auto written = fs::last_write_time(out_ + "/config.json");
  works(command("w4a16-gptq"));
  EXPECT_EQ(fs::last_write_time(out_ + "/config.json"), written);
  const auto differs = [&](const std::vector<std::string>& arguments, const char* what) {
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 1);
    for (const char* word : {what, "not what it was", "--fresh"})
      EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
  };
  differs(command("w4a16-rtn"), "recipe");
  differs(command("w4a16-gptq", {"--set", "gptq.damp=0.05"}), "recipe");
  fs::remove_all(out_);
  differs(command("w4a16-gptq"), "output");
  EXPECT_FALSE(fs::exists(out_ + "/config.json"));
  works(command("w4a16-gptq", {"--fresh"}));
  patch(projection, 0x3F80);
  differs(command("w4a16-gptq"), "source");
  works(command("w4a16-gptq", {"--fresh"}));
}

// A small disk of this process alone. False where mounting is not allowed.
bool mount_disk(const std::string& path, const char* options, unsigned long flags = 0) {
  static const bool apart = ::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
  if (!apart) return false;
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  fs::create_directories(path);
  return ::mount("vernier-test", path.c_str(), "tmpfs", flags, options) == 0;
}

class Disk : public BadInput {
 protected:
  void TearDown() override { ::umount2(disk_.c_str(), MNT_DETACH); }
  std::vector<std::string> on_disk(std::vector<std::string> arguments, const std::string& name) {
    *(std::find(arguments.begin(), arguments.end(), "-o") + 1) = disk_ + "/" + name;
    return arguments;
  }
  const std::string disk_ = dir_.path("disk");
};

TEST_F(Disk, ReadOnly) {
  if (!mount_disk(disk_, "size=1m", MS_RDONLY)) GTEST_SKIP() << "may not mount a disk here";
  for (const char* recipe : recipes) refuses(on_disk(command(recipe), "out"), {disk_, "-o"});
}

TEST_F(Disk, FullWhenTheOutputIsReserved) {
  if (!mount_disk(disk_, "size=64k")) GTEST_SKIP() << "may not mount a disk here";
  for (const char* recipe : recipes) {
    const Outcome run = run_vernier(on_disk(command(recipe, {"--scratch", dir_.path("scratch"), "--fresh"}), "out"));
    EXPECT_EQ(run.exit_code, 1);
    for (const std::string& word : {disk_, std::string("bytes"), std::string("free space")})
      EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
    EXPECT_FALSE(fs::exists(disk_ + "/out/config.json"));
    EXPECT_FALSE(fs::exists(disk_ + "/out/model.safetensors"));
  }
}

TEST_F(Disk, FullScratchIsResumedOnceThereIsRoom) {
  if (!mount_disk(disk_, "size=24k")) GTEST_SKIP() << "may not mount a disk here";
  const auto arguments = command("w4a16-gptq", {"--scratch", disk_ + "/scratch"});
  const Outcome run = run_vernier(arguments);
  EXPECT_EQ(run.exit_code, 1);
  for (const std::string& word : {disk_, std::string("space")})
    EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
  EXPECT_FALSE(fs::exists(out_ + "/config.json"));
  ASSERT_EQ(::mount(nullptr, disk_.c_str(), nullptr, MS_REMOUNT, "size=16m"), 0);
  works(arguments);
}

}  // namespace
}  // namespace vernier
