// GGUF files as sources and targets: there and back to the same bytes, split, requantized.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "base/json.h"
#include "containers/container.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::run_vernier;
using Outcome = testing::Run;
using Words = std::vector<std::string>;

class GgufConvert : public ::testing::Test {
 protected:
  Outcome run(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--json", "--quiet"});
    return run_vernier(words);
  }
  // Each asserts success.
  void quantize(const std::string& model, const std::string& out, const Words& more) {
    const Outcome outcome = run({"quantize", model, "-o", out}, more);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  Json convert(const std::string& model, const std::string& out, const std::string& container, const Words& more = {}) {
    const Outcome outcome = run({"convert", model, "-o", out, "--container", container}, more);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? parse_json(outcome.out, "out").value() : Json();
  }
  std::string refusal(const std::string& model, const std::string& container, const Words& more = {}) {
    const Outcome outcome = run({"convert", model, "-o", dir_.path("refused"), "--container", container}, more);
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_FALSE(file_exists(dir_.path("refused") + "/config.json"));
    return outcome.out + outcome.err;
  }
  void expect_same(const std::string& a, const std::string& b) {
    EXPECT_TRUE(read_file(a) == read_file(b)) << a << " " << b;
  }
  static Words integers(const std::string& bits, const std::string& group, bool symmetric = true) {
    return {"--recipe", "w4a16-rtn",
            "--set",    "weights.bits=" + bits,
            "--set",    "group=" + group,
            "--set",    "weights.scale_dtype=f16",
            "--set",    std::string("weights.symmetric=") + (symmetric ? "true" : "false")};
  }
  static Words with_container(Words words, const std::string& container) {
    words.insert(words.end(), {"--container", container});
    return words;
  }

  testing::TempDir dir_;
  const std::string books_ = testing::bundled_model(), first_ = dir_.path("first"), second_ = dir_.path("second"),
                    third_ = dir_.path("third");
};

TEST_F(GgufConvert, IntegersOfGroup32AreBlocksThereAndBack) {
  for (const char* bits : {"4", "5", "8"}) {
    const std::string file = dir_.path(std::string("q") + bits);
    quantize(books_, file, with_container(integers(bits, "32"), "gguf"));
    for (const char* container : {"compressed-tensors", "gptq", "vernier", "gguf"}) {
      SCOPED_TRACE(std::string(bits) + " bits through " + container);
      if (std::string(container) == "gptq" && std::string(bits) == "5") continue;
      fs::remove_all(second_), fs::remove_all(third_);
      EXPECT_EQ(convert(file + "/model.gguf", second_, container)["quantized_tensors"], 42);
      EXPECT_TRUE(convert(second_, third_, "gguf")["requantized"].empty());
      expect_same(third_ + "/model.gguf", file + "/model.gguf");
    }
  }
}

TEST_F(GgufConvert, BlockTypesLiveInTheVernierContainer) {
  quantize(books_, first_, {"--recipe", "gguf-q4_k", "--set", "range=minmax", "--container", "gguf"});
  convert(first_ + "/model.gguf", second_, "vernier");
  convert(second_, third_, "gguf");
  expect_same(third_ + "/model.gguf", first_ + "/model.gguf");
  EXPECT_NE(refusal(first_, "compressed-tensors").find("q4_k"), std::string::npos);
}

TEST_F(GgufConvert, CompressedTensorsComeBackWithTheirFloats) {
  fs::copy(books_, dir_.path("model"));
  auto config = parse_json(read_file(books_ + "/config.json"), "config.json");
  (*config)["torch_dtype"] = "float16";
  VN_ASSERT_OK(write_file_atomic(dir_.path("model") + "/config.json", dump_json(*config)));
  quantize(dir_.path("model"), first_, with_container(integers("4", "32"), "compressed-tensors"));
  convert(first_, second_, "gguf");
  convert(second_ + "/model.gguf", third_, "compressed-tensors");
  expect_same(third_ + "/model.safetensors", first_ + "/model.safetensors");
}

TEST_F(GgufConvert, FloatsAreAModelLikeAnyOther) {
  convert(books_, first_, "gguf");
  const std::string file = first_ + "/model.gguf";
  convert(file, second_, "safetensors");
  const auto wanted = Checkpoint::open(books_), found = Checkpoint::open(second_);
  VN_ASSERT_OK(found);
  ASSERT_EQ((*found)->entries().size(), (*wanted)->entries().size());
  for (const Checkpoint::Entry& entry : (*wanted)->entries()) {
    const TensorView a = (*wanted)->view(entry.tensor.name).value(), b = (*found)->view(entry.tensor.name).value();
    EXPECT_EQ(a.dtype, b.dtype);
    EXPECT_TRUE(std::ranges::equal(a.bytes, b.bytes)) << entry.tensor.name;
  }

  const std::string text = dir_.path("text.txt");
  std::string words;
  for (int i = 0; i < 400; ++i) words += fmt::format("The {} wind blew over {} hills, and night came. ", i, i * 7);
  VN_ASSERT_OK(write_file_atomic(text, words));
  const Words rtn{"--recipe", "w4a16-rtn"};
  const Words gptq{"--recipe", "w4a16-gptq", "--calib", text, "--samples", "4", "--ctx", "32"};
  for (const Words& recipe : {rtn, gptq}) {
    for (const std::string& folder : {dir_.path("a"), dir_.path("b")})
      fs::remove_all(folder), fs::remove_all(folder + ".run");
    quantize(books_, dir_.path("a"), recipe);
    quantize(file, dir_.path("b"), recipe);
    expect_same(dir_.path("b") + "/model.safetensors", dir_.path("a") + "/model.safetensors");
  }
  quantize(books_, dir_.path("c"), {"--recipe", "gguf-q4_0", "--container", "gguf"});
  quantize(file, dir_.path("d"), {"--recipe", "gguf-q4_0", "--container", "gguf"});
  expect_same(dir_.path("d") + "/model.gguf", dir_.path("c") + "/model.gguf");
  EXPECT_EQ(run({"plan", file}, rtn).exit_code, 0);

  const Outcome again = run({"quantize", dir_.path("c") + "/model.gguf", "-o", dir_.path("e")}, rtn);
  EXPECT_NE(again.err.find("already quantized"), std::string::npos) << again.err;
}

TEST_F(GgufConvert, ScoresAsItsValuesInFloatDo) {
  const std::string text = dir_.path("text.txt");
  std::string words;
  for (int i = 0; i < 60; ++i) words += fmt::format("The {} wind blew over {} hills, and night came. ", i, i * 7);
  VN_ASSERT_OK(write_file_atomic(text, words));
  const auto perplexity = [&](const std::string& model) {
    const Outcome out = run({"eval", model}, {"--text", text, "--ctx", "64"});
    EXPECT_EQ(out.exit_code, 0) << out.err;
    return parse_json(out.out, "out").value()["perplexity"].get<double>();
  };
  quantize(books_, first_, {"--recipe", "gguf-q3_k_m", "--container", "gguf"});
  const Json made = convert(first_, second_, "safetensors", {"--requantize", "--float-type", "f32"});
  EXPECT_EQ(made["quantized_tensors"], 0);
  for (const Json& weight : made["requantized"]) EXPECT_EQ(weight["error"], 0) << weight.dump();
  EXPECT_EQ(parse_json(read_file(second_ + "/config.json"), "config").value()["torch_dtype"], "float32");
  EXPECT_NEAR(perplexity(first_), perplexity(second_), 1e-4);
}

TEST_F(GgufConvert, EveryArchitectureComesBack) {
  for (const char* name : {"llama-biases", "llama-llama3", "llama-tied", "mistral", "mixtral", "qwen3"}) {
    SCOPED_TRACE(name);
    for (const std::string& folder : {first_, second_}) fs::remove_all(folder);
    const std::string model = testing::source_dir() + "/tests/golden/architectures/" + name;
    convert(model, first_, "gguf",
            {"--requantize", "--grid", "q8_0", "--set", R"(ignore=["*down_proj*", "*w2*", "*.gate.*"])"});
    convert(first_, second_, "vernier");
    const auto wanted = open_model(first_), found = open_model(second_);
    VN_ASSERT_OK(wanted);
    VN_ASSERT_OK(found);
    for (const SourceTensor& tensor : (*wanted)->tensors()) {
      if (tensor.shape.rank() != 2) continue;
      std::vector<float> a(tensor.shape.elements()), b(a.size());
      (*wanted)->matrix(tensor.name).value()->decode_rows(0, tensor.shape[0], a.data());
      (*found)->matrix(tensor.name).value()->decode_rows(0, tensor.shape[0], b.data());
      EXPECT_EQ(a, b) << tensor.name;
    }
  }
}

TEST_F(GgufConvert, SplitFilesAreTheSameModel) {
  const Words recipe{"--recipe", "gguf-q8_0", "--container", "gguf"};
  quantize(books_, first_, recipe);
  Words split = recipe;
  split.insert(split.end(), {"--max-shard", "1M"});
  quantize(books_, second_, split);
  std::size_t parts = 0;
  for (const std::string& name : list_directory(second_)) parts += name.ends_with(".gguf");
  ASSERT_GT(parts, 3u);
  const std::string head = fmt::format("{}/model-00001-of-{:05}.gguf", second_, parts);
  EXPECT_FALSE(file_exists(second_ + "/model.safetensors.index.json"));
  const auto whole = Checkpoint::open(second_);
  VN_ASSERT_OK(whole);
  EXPECT_EQ((*whole)->files().size(), parts);
  convert(head, third_, "gguf");
  expect_same(third_ + "/model.gguf", first_ + "/model.gguf");
  convert(first_, dir_.path("again"), "gguf", {"--max-shard", "1M"});
  for (const std::string& name : list_directory(second_))
    if (name.ends_with(".gguf")) expect_same(dir_.path("again") + "/" + name, second_ + "/" + name);

  fs::remove(fmt::format("{}/model-00002-of-{:05}.gguf", second_, parts));
  EXPECT_NE(refusal(second_, "vernier").find("part 2 of"), std::string::npos);
}

TEST_F(GgufConvert, AKilledSplitRunContinues) {
  const Words recipe{"--recipe", "gguf-q4_k", "--container", "gguf", "--max-shard", "1M", "--quiet"};
  Words words{"quantize", books_, "-o", first_};
  words.insert(words.end(), recipe.begin(), recipe.end());
  words[3] = second_;
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run_vernier(words).exit_code, 0);
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  words[3] = first_;
  bool killed = false;
  for (double moment = 0.7 * whole; !killed && moment > 0.001; moment /= 2) {
    killed = run_vernier(words, moment).exit_code == 137;
    if (killed) continue;
    fs::remove_all(first_);
    fs::remove_all(first_ + ".run");
  }
  ASSERT_TRUE(killed) << "it takes " << whole << " s";
  const Outcome resumed = run_vernier(words);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  for (const std::string& name : list_directory(second_)) expect_same(first_ + "/" + name, second_ + "/" + name);
}

// ||new - old|| / ||old|| of one tensor of two models.
double added_error(const std::string& before, const std::string& after, const std::string& tensor) {
  const auto old = open_model(before).value()->matrix(tensor).value();
  const auto made = open_model(after).value()->matrix(tensor).value();
  std::vector<float> a(old->rows() * old->cols()), b(a.size());
  old->decode_rows(0, old->rows(), a.data());
  made->decode_rows(0, made->rows(), b.data());
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += (double{b[i]} - a[i]) * (double{b[i]} - a[i]);
    norm += double{a[i]} * a[i];
  }
  return std::sqrt(error / norm);
}

TEST_F(GgufConvert, RequantizesWhatDoesNotFitAndSaysWhatItCosts) {
  quantize(books_, first_, with_container(integers("4", "128", false), "gptq"));
  EXPECT_NE(refusal(first_, "gguf").find("none of its block types"), std::string::npos);
  const Json made = convert(first_, second_, "gguf", {"--requantize"});
  ASSERT_EQ(made["requantized"].size(), 42u);
  for (const Json& row : made["requantized"]) {
    EXPECT_EQ(row["from"], "int4 asym g128 f16");
    EXPECT_GT(row["error"].get<double>(), 0.001);
    EXPECT_LT(row["error"].get<double>(), 0.2);
  }
  const Json& row = made["requantized"][5];
  EXPECT_NEAR(row["error"].get<double>(), added_error(first_, second_, row["tensor"]), 1e-6);

  const Json named = convert(first_, third_, "gguf", {"--requantize", "--grid", "q6_k"});
  EXPECT_EQ(named["requantized"][0]["to"], find_format("q6_k").value()->fixed->text());
  EXPECT_LT(named["requantized"][5]["error"].get<double>(), row["error"].get<double>());
}

TEST_F(GgufConvert, CodesThatFitAFinerLayoutCostNothing) {
  for (const char* bits : {"4", "8"}) {
    for (const std::string& folder : {first_, second_}) fs::remove_all(folder);
    fs::remove_all(first_ + ".run");
    quantize(books_, first_, with_container(integers(bits, "channel"), "gptq"));
    const Json made = convert(first_, second_, "gguf", {"--requantize"});
    ASSERT_EQ(made["requantized"].size(), 42u);
    for (const Json& row : made["requantized"]) EXPECT_EQ(row["error"], 0.0);
    EXPECT_EQ(added_error(first_, second_, made["requantized"][7]["tensor"]), 0);
  }
}

TEST_F(GgufConvert, RoundsBlocksToIntegersAndMoreBitsToFewer) {
  quantize(books_, first_, {"--recipe", "gguf-q4_k", "--set", "range=minmax", "--container", "gguf"});
  const Json made = convert(first_, second_, "compressed-tensors", {"--requantize"});
  for (const Json& row : made["requantized"]) EXPECT_LT(row["error"].get<double>(), 0.1) << row;
  // What the container holds stays, unless everything is asked for.
  EXPECT_TRUE(convert(first_, third_, "gguf", {"--requantize", "--grid", "q2_k"})["requantized"].empty());
  expect_same(third_ + "/model.gguf", first_ + "/model.gguf");
  const Json all = convert(first_, dir_.path("all"), "gguf", {"--requantize", "--grid", "q3_k", "--all"});
  EXPECT_EQ(all["requantized"].size(), made["requantized"].size());
}

TEST_F(GgufConvert, RefusesWithTheReason) {
  EXPECT_NE(refusal(books_, "gguf", {"--requantize"}).find("--grid"), std::string::npos);
  EXPECT_NE(refusal(books_, "gguf", {"--grid", "q4_k"}).find("--requantize"), std::string::npos);
  EXPECT_NE(refusal(books_, "gguf", {"--requantize", "--grid", "q9"}).find("unknown format"), std::string::npos);
  EXPECT_NE(refusal(books_, "gguf", {"--requantize", "--recipe", "w4a16-gptq"}).find("nearest"), std::string::npos);
  const std::string opt = testing::source_dir() + "/tests/golden/architectures/opt";
  EXPECT_NE(refusal(opt, "gguf", {"--requantize", "--grid", "q8_0"}).find("no GGUF architecture"), std::string::npos);
  const std::string narrow = testing::source_dir() + "/tests/golden/architectures/llama";
  EXPECT_NE(refusal(narrow, "gguf", {"--requantize", "--grid", "q4_k"}).find("not whole blocks of 256"),
            std::string::npos);
  quantize(books_, first_, {"--recipe", "w8a8-smoothquant", "--calib", "random", "--samples", "2", "--ctx", "16"});
  EXPECT_NE(refusal(first_, "gguf", {"--requantize"}).find("quantizers of activations"), std::string::npos);
}

}  // namespace
}  // namespace vernier
