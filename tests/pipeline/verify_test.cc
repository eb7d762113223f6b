// verify(): whole models pass, and every kind of damage is found and named.
#include "pipeline/verify.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "containers/container.h"
#include "io/files.h"
#include "pipeline/quantize.h"
#include "support/support.h"

namespace vernier {
namespace {

const std::string kQ = "model.layers.1.self_attn.q_proj";

class Verify : public ::testing::Test {
 protected:
  void quantize_to(const std::string& container, const std::vector<std::string>& sets,
                   const std::string& recipe = "w4a16-rtn") {
    std::filesystem::remove_all(out_);
    std::filesystem::remove_all(out_ + ".run");
    const auto loaded = load_recipe(recipe, sets);
    VN_ASSERT_OK(loaded);
    RunOptions options;
    options.model = testing::bundled_model();
    options.out = out_;
    options.container = container;
    auto plan = make_plan(*loaded, options, false);
    VN_ASSERT_OK(plan);
    VN_ASSERT_OK(quantize(std::move(plan).value()));
  }
  void copy_float() { std::filesystem::copy(testing::bundled_model(), out_); }

  // Overwrites bytes of a stored tensor in place.
  void patch(const std::string& tensor, std::int64_t offset, const std::vector<std::uint8_t>& bytes) {
    std::string path;
    std::int64_t at = 0;
    {
      const auto checkpoint = Checkpoint::open(out_);
      VN_ASSERT_OK(checkpoint);
      const auto view = (*checkpoint)->view(tensor);
      VN_ASSERT_OK(view);
      const auto& file = (*checkpoint)->files()[(*checkpoint)->find(tensor)->file];
      path = file->path();
      at = view->bytes.data() - file->bytes().data() + offset;
    }
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.good());
  }
  // Writes the weights again: without one tensor, or with one of another shape.
  void rewrite(const std::string& dropped, const std::string& reshaped = {}, const Shape& shape = {}) {
    std::vector<std::pair<TensorEntry, std::string>> kept;
    {
      const auto checkpoint = Checkpoint::open(out_);
      VN_ASSERT_OK(checkpoint);
      for (const Checkpoint::Entry& entry : (*checkpoint)->entries()) {
        if (entry.tensor.name == dropped) continue;
        const auto bytes = (*checkpoint)->view(entry.tensor.name)->bytes;
        TensorEntry tensor{entry.tensor.name, entry.tensor.dtype, entry.tensor.shape};
        if (tensor.name == reshaped) tensor.shape = shape;
        kept.emplace_back(tensor, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      }
    }
    std::vector<TensorEntry> entries;
    for (const auto& [entry, bytes] : kept) entries.push_back(entry);
    std::filesystem::remove(out_ + "/model.safetensors");
    auto writer = SafetensorsWriter::open(out_ + "/model.safetensors", plan_safetensors(entries, {{"format", "pt"}}));
    VN_ASSERT_OK(writer);
    for (const auto& [entry, bytes] : kept)
      VN_ASSERT_OK((*writer)->write(entry.name, std::as_bytes(std::span(bytes)).first(entry.bytes())));
    VN_ASSERT_OK((*writer)->finish());
  }

  VerifyReport look(const std::string& source = {}) {
    auto report = verify({.model = out_, .source = source});
    EXPECT_TRUE(report.ok()) << report.error().text();
    return report.ok() ? std::move(report).value() : VerifyReport();
  }
  void expect_sound(const std::string& source = {}) {
    const VerifyReport report = look(source);
    EXPECT_TRUE(report.sound()) << report.verdict() << ": " << report.problems[0].what << ", "
                                << report.problems[0].found;
    EXPECT_NE(report.verdict().find("nothing wrong"), std::string::npos) << report.verdict();
  }
  // One problem, with this tensor and these words.
  void expect_wrong(const std::string& tensor, const std::vector<std::string>& words, const std::string& source = {}) {
    const VerifyReport report = look(source);
    ASSERT_EQ(report.problems.size(), 1u) << report.verdict();
    const Problem& problem = report.problems[0];
    EXPECT_EQ(problem.tensor, tensor);
    const std::string text = problem.what + " / " + problem.wanted + " / " + problem.found;
    for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << word << " in: " << text;
    EXPECT_EQ(report.verdict().find("nothing wrong"), std::string::npos);
  }

  testing::TempDir dir_;
  const std::string out_ = dir_.path("out"), source_ = testing::bundled_model();
};

TEST_F(Verify, WholeModelsPassInEveryContainer) {
  copy_float();
  expect_sound(source_);
  std::filesystem::remove_all(out_);
  using Sets = std::vector<std::string>;
  const std::pair<const char*, Sets> cases[] = {
      {"compressed-tensors", {}},
      {"compressed-tensors", {"symmetric=false", "bits=3", "group=64"}},
      {"compressed-tensors", {"weights.format=fp8", "bits=8", "group=channel"}},
      {"compressed-tensors", {"weights.format=nvfp4"}},
      {"gptq", {"weights.scale_dtype=f16"}},
      {"awq", {"weights.scale_dtype=f16", "symmetric=false"}},
      {"vernier", {}},                                             // panels
      {"vernier", {"weights.format=dual", "bits=2", "group=64"}},  // panels
      {"vernier", {"bits=5", "symmetric=false", "group=48"}},      // as the format lays it out
      {"vernier", {"weights.format=ternary", "bits=2", "symmetric=true", "group=channel"}},
      {"vernier", {"weights.format=ternary", "bits=2", "symmetric=true", "group=48"}},
      {"gguf", {"weights.format=q5_1"}},
      {"gguf", {"weights.format=tq2_0"}},
  };
  for (const auto& [container, sets] : cases) {
    SCOPED_TRACE(std::string(container) + (sets.empty() ? "" : " " + sets[0]));
    quantize_to(container, sets);
    const VerifyReport report = look(source_);
    EXPECT_TRUE(report.sound()) << report.verdict() << ": " << report.problems[0].what;
    EXPECT_EQ(report.quantized, 42);
    ASSERT_TRUE(report.comparison);
    EXPECT_EQ(report.comparison->quantized, 42);
    EXPECT_EQ(report.comparison->converted, std::string(container) == "gguf" ? 13 : 0);  // norms, to f32
    EXPECT_EQ(report.comparison->errors.size(), 42u);
    for (const auto& error : report.comparison->errors) {
      EXPECT_GT(error.relative, 0) << error.tensor;
      EXPECT_LT(error.relative, 1) << error.tensor;  // 0 is on every one of these grids, or nearly
    }
  }
}

TEST_F(Verify, NumbersThatAreNone) {
  const std::vector<std::uint8_t> nan{0xC0, 0x7F}, infinity{0x80, 0x7F}, zero{0, 0}, half_nan{0, 0x7E};
  copy_float();
  patch("model.norm.weight", 2 * 7, infinity);
  expect_wrong("model.norm.weight", {"row 0, column 7", "finite", "inf"});
  std::filesystem::remove_all(out_);
  copy_float();
  patch("model.embed_tokens.weight", 2 * (256 * 4001 + 17), nan);
  expect_wrong("model.embed_tokens.weight", {"row 4001, column 17", "nan"});

  quantize_to("compressed-tensors", {"group=128"});
  patch(kQ + ".weight_scale", 2 * (2 * 9 + 1), nan);
  expect_wrong(kQ + ".weight", {"scale of row 9, group 1", "nan"});
  patch(kQ + ".weight_scale", 2 * (2 * 9 + 1), zero);
  expect_wrong(kQ + ".weight", {"scale of row 9, group 1", "other than 0"});
  quantize_to("gptq", {"weights.scale_dtype=f16", "group=128"});
  patch(kQ + ".scales", 2 * (256 + 30), half_nan);
  expect_wrong(kQ + ".weight", {"scale of row 30, group 1", "nan"});
  quantize_to("vernier", {"bits=5", "group=48"});
  patch(kQ + ".weight.scale", 2 * 6, infinity);
  expect_wrong(kQ + ".weight", {"scale of row 1, group 0", "inf"});
  quantize_to("gguf", {"weights.format=q8_0"});
  patch("blk.1.ffn_gate.weight", 34 * 8 * 3, half_nan);  // rows of 8 blocks that start with their scale
  expect_wrong("model.layers.1.mlp.gate_proj.weight", {"scale of row 3, block 0", "nan"});
}

TEST_F(Verify, CodesOfNoValue) {
  quantize_to("vernier", {"weights.format=ternary", "bits=2", "symmetric=true", "group=channel"});
  patch(kQ + ".weight.panels", 64, {0x56});  // line 1: row 0, columns 16, 20, 24 and 28; the second is 1
  expect_sound();
  patch(kQ + ".weight.panels", 64, {0x52});
  expect_wrong(kQ + ".weight", {"code of row 0, column 20", "0"});
  quantize_to("vernier", {"weights.format=ternary", "bits=2", "symmetric=true", "group=48"});
  patch(kQ + ".weight.codes", 64 * 5 + 2, {0x15});
  expect_wrong(kQ + ".weight", {"code of row 5, column 11"});
  quantize_to("compressed-tensors", {"weights.format=fp8", "bits=8", "group=channel"});
  patch(kQ + ".weight", 256 * 2 + 3, {0xFF});
  expect_wrong(kQ + ".weight", {"code of row 2, column 3", "255"});
  quantize_to("gguf", {"weights.format=tq2_0"});
  patch("blk.1.ffn_down.weight", 66 + 5, {0xFF});  // the second block of 256
  expect_wrong("model.layers.1.mlp.down_proj.weight", {"code of row 0, column 261", "3"});
}

TEST_F(Verify, IntegersOutOfRange) {
  quantize_to("vernier", {"weights.format=dual", "group=48"});
  patch(kQ + ".weight.fine", 0, {0x10});  // nibbles: the first group's is 0
  expect_wrong(kQ + ".weight", {"unreadable", "'fine': row 0, group 0 is 0", "1 to 15"});
  quantize_to("vernier", {"symmetric=false", "group=channel"});
  patch(kQ + ".weight.panels", 256 * 256 / 2 + 256 * 4 + 21, {16});  // after codes and scales: a byte a row
  expect_wrong(kQ + ".weight", {"zero point of row 21, group 0", "0 to 15", "16"});
}

TEST_F(Verify, ModelsThatDoNotOpenAreAVerdict) {
  copy_float();
  rewrite("model.layers.3.mlp.up_proj.weight");
  expect_wrong("", {"no tensor model.layers.3.mlp.up_proj.weight"});
  std::filesystem::remove_all(out_);
  copy_float();
  rewrite("", "model.layers.3.self_attn.k_proj.weight", Shape{256, 128});
  expect_wrong("", {"k_proj.weight", "[256, 128]", "[128, 256]"});
  std::filesystem::remove_all(out_);
  copy_float();
  std::filesystem::resize_file(out_ + "/model.safetensors",
                               std::filesystem::file_size(out_ + "/model.safetensors") - 9);
  expect_wrong("", {"model.safetensors"});
  std::filesystem::remove(out_ + "/config.json");
  expect_wrong("", {"config.json"});
  quantize_to("compressed-tensors", {});
  rewrite(kQ + ".weight_scale");
  expect_wrong("", {kQ + ".weight_scale"});
}

TEST_F(Verify, ATokenizerThatIsGone) {
  copy_float();
  std::filesystem::remove(out_ + "/tokenizer.model");
  expect_wrong("tokenizer", {"missing", "tokenizer.model"});
  const auto made_from_the_same = verify({.model = out_, .source = {}, .origin = out_});
  VN_ASSERT_OK(made_from_the_same);
  EXPECT_TRUE(made_from_the_same->sound());
  ASSERT_EQ(made_from_the_same->notes.size(), 1u);
  EXPECT_NE(made_from_the_same->notes[0].find("tokenizer"), std::string::npos);
}

TEST_F(Verify, TensorsOfTheSource) {
  quantize_to("compressed-tensors", {});
  patch("model.layers.0.input_layernorm.weight", 0, {0x81, 0x3F});
  expect_sound();
  expect_wrong("model.layers.0.input_layernorm.weight", {"changed", "bit for bit"}, source_);

  // The codes of another tensor: every number is fine, and all are wrong.
  quantize_to("vernier", {"group=channel"});
  std::vector<std::uint8_t> other(256 * 256 / 2);
  {
    const auto checkpoint = Checkpoint::open(out_);
    VN_ASSERT_OK(checkpoint);
    std::memcpy(other.data(), (*checkpoint)->view("model.layers.4.self_attn.q_proj.weight.panels")->bytes.data(),
                other.size());
  }
  patch(kQ + ".weight.panels", 0, other);
  expect_sound();
  const VerifyReport far = look(source_);
  EXPECT_TRUE(far.sound());
  ASSERT_EQ(far.notes.size(), 1u);
  EXPECT_NE(far.notes[0].find("no nearer to the source than zeros are: " + kQ), std::string::npos) << far.notes[0];

  // A tensor that the graph does not read is listed, and missed when it is gone.
  std::filesystem::remove_all(out_);
  copy_float();
  {
    const auto config = read_text_file(out_ + "/config.json");
    VN_ASSERT_OK(config);
    std::string text = *config;
    const std::string six = "\"num_hidden_layers\": 6";
    ASSERT_NE(text.find(six), std::string::npos);
    VN_ASSERT_OK(
        write_file_atomic(out_ + "/config.json", text.replace(text.find(six), six.size(), "\"num_hidden_layers\": 5")));
  }
  const VerifyReport five = look();
  EXPECT_TRUE(five.sound());
  ASSERT_EQ(five.notes.size(), 1u);
  EXPECT_NE(five.notes[0].find("model.layers.5."), std::string::npos) << five.notes[0];
  rewrite("model.layers.5.mlp.up_proj.weight");
  expect_wrong("model.layers.5.mlp.up_proj.weight", {"in the source", "no such tensor"}, source_);
}

TEST_F(Verify, TransformedWeightsAreNotCompared) {
  quantize_to("vernier", {}, "w8a8-quarot");
  const VerifyReport report = look(source_);
  EXPECT_TRUE(report.sound()) << report.verdict();
  ASSERT_TRUE(report.comparison);
  EXPECT_TRUE(report.comparison->transformed);
  EXPECT_TRUE(report.comparison->errors.empty());
  EXPECT_NE(report.notes[0].find("transformed"), std::string::npos) << report.notes[0];
  expect_sound(out_);  // against itself they are compared
  EXPECT_FALSE(look(out_).comparison->transformed);
}

}  // namespace
}  // namespace vernier
