// vernier convert: the same model in another container, and back to the same bytes.
#include <filesystem>

#include "base/json.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::read_file;
using testing::run_vernier;
using Outcome = testing::Run;

class Convert : public ::testing::Test {
 protected:
  // The bundled model as one of 16-bit halves, the type that GPTQ's scales have.
  void SetUp() override {
    std::filesystem::copy(testing::bundled_model(), model_);
    auto config = parse_json(read_file(model_ + "/config.json"), "config.json");
    VN_ASSERT_OK(config);
    config->erase("torch_dtype");
    (*config)["dtype"] = "float16";
    VN_ASSERT_OK(write_file_atomic(model_ + "/config.json", dump_json(*config, 2)));
  }
  Outcome quantize(const std::string& out, const std::string& container, const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"quantize",  model_,        "-o",      out,      "--recipe",
                                          "w4a16-rtn", "--container", container, "--quiet"};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    return run_vernier(arguments);
  }
  Outcome convert(const std::string& in, const std::string& out, const std::string& container) {
    return run_vernier({"convert", in, "-o", out, "--container", container, "--json", "--quiet"});
  }
  void expect_same(const std::string& a, const std::string& b) {
    EXPECT_TRUE(read_file(a + "/model.safetensors") == read_file(b + "/model.safetensors"));
    EXPECT_EQ(read_file(a + "/config.json"), read_file(b + "/config.json"));
  }

  testing::TempDir dir_;
  const std::string model_ = dir_.path("model"), first_ = dir_.path("first"), second_ = dir_.path("second"),
                    third_ = dir_.path("third");
};

TEST_F(Convert, GptqToCompressedTensorsAndBack) {
  for (const char* symmetric : {"true", "false"}) {
    for (const std::string& folder : {first_, second_, third_}) std::filesystem::remove_all(folder);
    ASSERT_EQ(quantize(first_, "gptq", {"weights.scale_dtype=f16", "group=64", std::string("symmetric=") + symmetric})
                  .exit_code,
              0);
    const Outcome there = convert(first_, second_, "compressed-tensors");
    ASSERT_EQ(there.exit_code, 0) << there.err;
    EXPECT_EQ(parse_json(there.out, "out").value()["quantized_tensors"], 42);
    const Outcome back = convert(second_, third_, "gptq");
    ASSERT_EQ(back.exit_code, 0) << back.err;
    expect_same(first_, third_);
    std::filesystem::remove_all(first_ + ".run");
  }
}

TEST_F(Convert, AwqToGptqAndBack) {
  ASSERT_EQ(quantize(first_, "awq", {"weights.scale_dtype=f16", "group=64", "symmetric=false"}).exit_code, 0);
  ASSERT_EQ(convert(first_, second_, "gptq").exit_code, 0);
  const Outcome back = convert(second_, third_, "awq");
  ASSERT_EQ(back.exit_code, 0) << back.err;
  expect_same(first_, third_);
}

TEST_F(Convert, BytesInGroupsOf32BecomeQ8_0) {
  ASSERT_EQ(quantize(first_, "gptq", {"weights.scale_dtype=f16", "group=32", "bits=8"}).exit_code, 0);
  const Outcome made = convert(first_, second_, "gguf");
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::string text = dir_.path("text.txt");
  VN_ASSERT_OK(
      write_file_atomic(text, "It was a long time before the wind was over, and the old man sat by the fire."));
  const Outcome judged = run_vernier(
      {"eval", second_ + "/model.gguf", "--against", first_, "--text", text, "--ctx", "8", "--json", "--quiet"});
  ASSERT_EQ(judged.exit_code, 0) << judged.err;
  EXPECT_LT(parse_json(judged.out, "out").value()["kl_mean"].get<double>(), 1e-9);
}

TEST_F(Convert, ListsEveryWeightThatDoesNotFitAndWritesNothing) {
  ASSERT_EQ(quantize(first_, "gptq", {"weights.scale_dtype=f16", "group=64"}).exit_code, 0);
  for (const char* container : {"awq", "gguf"}) {
    const Outcome refused = convert(first_, second_, container);
    EXPECT_EQ(refused.exit_code, 1);
    const Json rows = parse_json(refused.out, "out").value()["refused"];
    ASSERT_EQ(rows.size(), 42u) << container;
    EXPECT_EQ(rows[0]["grid"], "int4 sym g64 f16");
    EXPECT_FALSE(rows[0]["reason"].get<std::string>().empty());
    EXPECT_FALSE(file_exists(second_));
  }
}

TEST_F(Convert, RefusesAnOutputThatExistsAndUnknownContainers) {
  ASSERT_EQ(quantize(first_, "gptq", {"weights.scale_dtype=f16"}).exit_code, 0);
  EXPECT_NE(convert(first_, model_, "gptq").err.find("exists already"), std::string::npos);
  EXPECT_NE(convert(first_, second_, "zip").exit_code, 0);
  EXPECT_NE(convert(first_, second_, "safetensors").exit_code, 0);
}

}  // namespace
}  // namespace vernier
