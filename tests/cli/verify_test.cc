// vernier verify, and the verification that quantize, convert and pack end with.
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "io/checkpoint.h"
#include "support/support.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

class CliVerify : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run_vernier({"make-model", "--hidden", "128", "--layers", "2", "--intermediate", "192", "--heads", "4",
                           "--kv-heads", "2", "--vocab", "300", "-o", model_})
                  .exit_code,
              0);
  }
  Outcome quantize(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"quantize", model_, "-o", out, "--recipe", "w4a16-rtn", "--set", "group=32"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_vernier(arguments);
  }
  // The final norm starts with an infinity.
  void damage(const std::string& model) {
    std::int64_t at = 0;
    {
      const auto checkpoint = Checkpoint::open(model);
      VN_ASSERT_OK(checkpoint);
      at = (*checkpoint)->view("model.norm.weight")->bytes.data() - (*checkpoint)->files()[0]->bytes().data();
    }
    std::fstream file(model + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.write("\x80\x7F", 2);
    ASSERT_TRUE(file.good());
  }

  testing::TempDir dir_;
  const std::string model_ = dir_.path("model"), out_ = dir_.path("out"), packed_ = dir_.path("packed");
};

TEST_F(CliVerify, SaysThatNothingIsWrong) {
  const Outcome made = quantize(out_);
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_NE(made.out.find("14 quantized, nothing wrong"), std::string::npos) << made.out;
  const Outcome run = run_vernier({"verify", out_, "--source", model_});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find(out_ + ": "), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("nothing wrong"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("14 quantized"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("copied bit for bit"), std::string::npos) << run.out;

  const Outcome json = run_vernier({"verify", out_, "--source", model_, "--json", "--quiet"});
  ASSERT_EQ(json.exit_code, 0) << json.err;
  const Json report = parse_json(json.out, "out").value();
  EXPECT_EQ(report["sound"], true);
  EXPECT_EQ(report["container"], "compressed-tensors");
  EXPECT_EQ(report["quantized_tensors"], 14);
  EXPECT_EQ(report["source"]["errors"].size(), 14u);
  EXPECT_TRUE(report["problems"].empty());
}

TEST_F(CliVerify, NamesWhatIsWrong) {
  damage(model_);
  const Outcome run = run_vernier({"verify", model_});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.out.find("1 of 21 tensors wrong"), std::string::npos) << run.out;
  for (const char* word : {"model.norm.weight", "column 0", "a finite number", "inf"})
    EXPECT_NE(run.out.find(word), std::string::npos) << word << " in: " << run.out;
  const Json report = parse_json(run_vernier({"verify", model_, "--json", "--quiet"}).out, "out").value();
  EXPECT_EQ(report["sound"], false);
  EXPECT_EQ(report["problems"][0]["tensor"], "model.norm.weight");
  EXPECT_EQ(report["problems"][0]["found"], "inf");

  const Outcome absent = run_vernier({"verify", dir_.path("nothing")});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_NE(absent.out.find("cannot be opened"), std::string::npos) << absent.out;
  EXPECT_EQ(run_vernier({"verify"}).exit_code, 2);
  EXPECT_EQ(run_vernier({"verify", model_, "--sauce", model_}).exit_code, 2);
}

TEST_F(CliVerify, AVocabularyLargerThanTheEmbedding) {
  for (const auto& entry : std::filesystem::directory_iterator(model_))
    if (entry.path().filename().string().starts_with("tokenizer")) std::filesystem::remove(entry.path());
  for (const char* file : {"tokenizer.model", "tokenizer_config.json"})
    std::filesystem::copy_file(testing::bundled_model() + "/" + file, model_ + "/" + file);
  const Outcome run = run_vernier({"verify", model_});
  EXPECT_EQ(run.exit_code, 1);
  for (const char* word : {"tokenizer wrong", "at most 300", "4096"})
    EXPECT_NE(run.out.find(word), std::string::npos) << word << " in: " << run.out;
  // An output is not at fault for what its source had.
  EXPECT_EQ(quantize(out_).exit_code, 0);
}

TEST_F(CliVerify, OutputsAreVerifiedUnlessDeclined) {
  ASSERT_EQ(quantize(out_).exit_code, 0);
  const std::string whole = testing::read_file(out_ + "/model.safetensors");
  ASSERT_EQ(quantize(dir_.path("declined"), {"--no-verify"}).exit_code, 0);
  EXPECT_TRUE(testing::read_file(dir_.path("declined") + "/model.safetensors") == whole);

  damage(out_);
  const Outcome failed = quantize(out_);  // all is done already, but for the verification
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_NE(failed.out.find("model.norm.weight"), std::string::npos) << failed.out;
  EXPECT_NE(failed.err.find("kept for inspection"), std::string::npos) << failed.err;
  EXPECT_TRUE(std::filesystem::exists(out_ + "/config.json"));
  const Outcome declined = quantize(out_, {"--no-verify", "--json", "--quiet"});
  EXPECT_EQ(declined.exit_code, 0) << declined.err;
  EXPECT_EQ(parse_json(declined.out, "out").value()["verified"], false);

  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"pack", out_}, {"convert", out_, "--container", "vernier"}}) {
    std::filesystem::remove_all(packed_);
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"-o", packed_, "--json", "--quiet"});
    const Outcome run = run_vernier(arguments);
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_EQ(parse_json(run.out, "out").value()["problems"][0]["tensor"], "model.norm.weight");
    EXPECT_NE(run.err.find("kept for inspection"), std::string::npos) << run.err;
    std::filesystem::remove_all(packed_);
    arguments.push_back("--no-verify");
    EXPECT_EQ(run_vernier(arguments).exit_code, 0);
  }
}

}  // namespace
}  // namespace vernier
