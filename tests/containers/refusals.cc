// What a container cannot hold, and folders that are not what they say: every refusal names its cause.

#include <functional>
#include <string>
#include <vector>

#include "containers/quantized_folder.h"
#include "containers/tiny_model.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::QuantizedFolder;
using testing::TempDir;
using testing::TinyModel;

const std::string kQ = "model.layers.0.self_attn.q_proj";

#define EXPECT_REFUSED(result, wanted_code, ...)                                  \
  do {                                                                            \
    auto&& vn_refused = (result);                                                 \
    ASSERT_FALSE(vn_refused.ok());                                                \
    EXPECT_EQ(vn_refused.error().code, wanted_code) << vn_refused.error().text(); \
    for (const std::string& part : std::vector<std::string>{__VA_ARGS__})         \
      EXPECT_NE(vn_refused.error().text().find(part), std::string::npos)          \
          << "wanted \"" << part << "\" in: " << vn_refused.error().text();       \
  } while (false)

// Opens `model` from disk.
Result<std::unique_ptr<ModelSource>> open(const TinyModel& model, const TempDir& dir) {
  VN_TRY(model.write(dir.path("case")));
  return open_model(dir.path("case"));
}

// The tiny model, quantized.
TinyModel quantized(const QuantizedFolder& options, const TempDir& dir) {
  EXPECT_TRUE(TinyModel::make().write(dir.path("model")).ok());
  const auto checkpoint = Checkpoint::open(dir.path("model"));
  EXPECT_TRUE(checkpoint.ok());
  const auto written = testing::write_folder(**checkpoint, options, dir.path("quantized"));
  EXPECT_TRUE(written.ok()) << written.error().text();
  auto model = TinyModel::read(dir.path("quantized"));
  EXPECT_TRUE(model.ok());
  return std::move(model).value();
}

const QuantizedFolder kPacked{.container = "compressed-tensors", .grid = {"int", 3, false, 32, DType::bf16}};
const QuantizedFolder kOwn{.container = "vernier", .grid = {"int", 5, false, 32, DType::bf16}};  // no panels

TEST(FloatCheckpoint, MissingTensorNamesTheNearest) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  model.rename("model.norm.weight", "model.nrom.weight");
  EXPECT_REFUSED(open(model, dir), ErrorCode::not_found, dir.path("case"), "no tensor model.norm.weight",
                 "the nearest name is model.nrom.weight");
}

TEST(FloatCheckpoint, WrongShape) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  model["model.layers.0.self_attn.k_proj.weight"] = Tensor(DType::bf16, {64, 64});
  EXPECT_REFUSED(open(model, dir), ErrorCode::mismatch, "k_proj.weight", "[64, 64]", "[32, 64]");
}

TEST(FloatCheckpoint, IntegersAreNotFloats) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  model[kQ + ".weight"] = Tensor(DType::i8, {64, 64});
  EXPECT_REFUSED(open(model, dir), ErrorCode::unsupported, "q_proj.weight", "I8", "quantization_config");
}

TEST(FloatCheckpoint, UnexpectedTensorsAreKept) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  model["model.layers.0.self_attn.rotary_emb.inv_freq"] = Tensor(DType::f32, {8});
  model["model.layers.7.extra"] = Tensor(DType::f32, {3});
  ::testing::internal::CaptureStderr();
  const auto source = open(model, dir);
  const std::string messages = ::testing::internal::GetCapturedStderr();
  VN_ASSERT_OK(source);
  EXPECT_NE(messages.find("model.layers.7.extra"), std::string::npos) << messages;
  EXPECT_EQ(messages.find("inv_freq"), std::string::npos) << messages;
  EXPECT_EQ((*source)->tensors().size(), model.tensors.size());
  EXPECT_FALSE((*source)->activation(kQ + ".weight").has_value());
}

TEST(FloatCheckpoint, BareBaseModelNames) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  model.config["tie_word_embeddings"] = true;
  model.erase("lm_head.weight");
  for (auto& [name, tensor] : model.tensors) name = name.substr(std::string("model.").size());
  const auto source = open(model, dir);
  VN_ASSERT_OK(source);
  VN_EXPECT_OK((*source)->matrix("model.embed_tokens.weight"));
  VN_EXPECT_OK((*source)->vector("model.norm.weight"));
  EXPECT_REFUSED((*source)->matrix("model.norm.weight"), ErrorCode::mismatch, "model.norm.weight", "matrix");
}

TEST(OpenModel, UnknownQuantMethod) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  model.config["quantization_config"] = Json{{"quant_method", "aqlm"}};
  EXPECT_REFUSED(open(model, dir), ErrorCode::unsupported, "\"aqlm\"", "compressed-tensors", "vernier", "config.json");
  model.config["quantization_config"] = Json::array({1});
  EXPECT_REFUSED(open(model, dir), ErrorCode::unsupported, "without a quant_method");
  model.config["quantization_config"] = nullptr;
  VN_EXPECT_OK(open(model, dir));
}

TEST(FindContainer, SuggestsTheNearest) {
  VN_EXPECT_OK(find_container("vernier"));
  EXPECT_REFUSED(find_container("compresed-tensors"), ErrorCode::not_found, "did you mean compressed-tensors?");
}

TEST(Companions, EverythingButWeightsAndConfig) {
  const TempDir dir;
  for (const char* name : {"config.json", "tokenizer.json", "LICENSE", "model.safetensors", "pytorch_model.bin",
                           "model.safetensors.index.json", ".gitattributes", "chat_template.jinja"})
    VN_ASSERT_OK(write_file_atomic(dir.path(name), "x"));
  VN_ASSERT_OK(make_directories(dir.path("original")));
  EXPECT_EQ(companion_files(dir.path()),
            (std::vector<std::string>{"LICENSE", "chat_template.jinja", "tokenizer.json"}));
}

// Plans, and the words of the refusal.
TEST(CompressedTensors, RefusesPlansItCannotHold) {
  const TempDir dir;
  TinyModel model = TinyModel::make();
  VN_ASSERT_OK(model.write(dir.path("model")));
  const auto checkpoint = Checkpoint::open(dir.path("model"));
  VN_ASSERT_OK(checkpoint);
  const ContainerDescriptor& container = *find_container("compressed-tensors").value();
  const auto status = [&](QuantizedFolder options) {
    return container.accepts(testing::plan_folder(**checkpoint, options));
  };
  const GridSpec good{"int", 4, true, 32, DType::bf16};
  VN_EXPECT_OK(status({.grid = good}));

  QuantizedFolder options{.grid = good};
  options.grid.group = 48;
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "_proj.weight", "64 columns", "multiple of the group");
  options.grid = good;
  options.grid.scale_dtype = DType::f16;
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "BF16");
  options.grid = {"dual", 4, false, 32, DType::f32};
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "dual4 asym g32 f32", "only the formats int, fp8");
  options.grid = {"fp8", 8, true, 32, DType::bf16};
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "fp8 sym g32 bf16", "tensor, channel or block");
  options.grid = {"fp8", 8, true, 0, DType::f32};
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "fp8 sym channel f32", "BF16");
  options = {.grid = good, .column_groups = true};
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "columns grouped");
  options = {.grid = good};
  options.choose = [&](WeightPlan& weight) {
    if (weight.name == "model.embed_tokens.weight") weight.grid = good;
  };
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "model.embed_tokens.weight", "embedding");
  options.choose = [&](WeightPlan& weight) {
    if (weight.name == "model.norm.weight") weight.grid = good;
  };
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "model.norm.weight", "[64]");
  options.choose = [](WeightPlan& weight) { weight.grid.reset(); };
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "no weight of the plan is quantized");

  options = {.grid = {"int", 8, true, 0, DType::bf16}, .activation = ActivationSpec{}};
  VN_EXPECT_OK(status(options));
  options.grid.symmetric = false;
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "symmetric 8 bit");
  options.grid = good;
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "symmetric 8 bit");
  options.grid = {"int", 8, true, 0, DType::bf16};
  options.activation->bits = 4;
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "inputs of 4 bits");
  options.activation = ActivationSpec{.per_token = false};
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "per token");
  options.activation = ActivationSpec{.floating = true};
  EXPECT_REFUSED(status(options), ErrorCode::unsupported, "both integers or both floats");
  EXPECT_REFUSED(find_container("safetensors").value()->accepts(testing::plan_folder(**checkpoint, {.grid = good})),
                 ErrorCode::unsupported, "floats only", "_proj");
}

struct Broken {
  const char* what;
  std::function<void(TinyModel&)> change;
  ErrorCode code;
  std::vector<const char*> words;
};

void expect_broken(const QuantizedFolder& options, const std::vector<Broken>& cases) {
  for (const Broken& broken : cases) {
    SCOPED_TRACE(broken.what);
    const TempDir dir;
    TinyModel model = quantized(options, dir);
    broken.change(model);
    const auto source = open(model, dir);
    ASSERT_FALSE(source.ok());
    EXPECT_EQ(source.error().code, broken.code) << source.error().text();
    for (const char* word : broken.words)
      EXPECT_NE(source.error().text().find(word), std::string::npos) << word << " in: " << source.error().text();
  }
}

Json& group_0(TinyModel& model) { return model.config["quantization_config"]["config_groups"]["group_0"]; }

TEST(CompressedTensors, BrokenFolders) {
  expect_broken(
      kPacked,
      {{"no scale", [](TinyModel& m) { m.erase(kQ + ".weight_scale"); }, ErrorCode::not_found, {"q_proj.weight_scale"}},
       {"no zero points",
        [](TinyModel& m) { m.erase(kQ + ".weight_zero_point"); },
        ErrorCode::not_found,
        {"zero_point"}},
       {"no codes", [](TinyModel& m) { m.erase(kQ + ".weight_packed"); }, ErrorCode::not_found, {"q_proj.weight"}},
       {"scales of other groups",
        [](TinyModel& m) {
          m[kQ + ".weight_scale"] = Tensor(DType::bf16, {64, 4});
        },
        ErrorCode::mismatch,
        {"weight_scale", "[64, 4]", "[64, 2]"}},
       {"integer scales",
        [](TinyModel& m) {
          m[kQ + ".weight_scale"] = Tensor(DType::i32, {64, 2});
        },
        ErrorCode::mismatch,
        {"weight_scale", "I32"}},
       {"wrong bits",
        [](TinyModel& m) { group_0(m)["weights"]["num_bits"] = 5; },
        ErrorCode::mismatch,
        {"weight_packed", "5 bits"}},
       {"wrong zero points",
        [](TinyModel& m) {
          m[kQ + ".weight_zero_point"] = Tensor(DType::i32, {64, 2});
        },
        ErrorCode::mismatch,
        {"zero_point", "[64, 2]", "[6, 2]"}},
       {"a shape that is a lie",
        [](TinyModel& m) { m[kQ + ".weight_shape"].as<std::int64_t>()[1] = std::int64_t{1} << 60; },
        ErrorCode::mismatch,
        {"weight_packed", "weight_shape"}},
       {"another shape than config's",
        [](TinyModel& m) { m[kQ + ".weight_shape"].as<std::int64_t>()[1] = 63; },
        ErrorCode::mismatch,
        {"q_proj.weight", "[64, 63]", "[64, 64]"}},
       {"float codes",
        [](TinyModel& m) {
          m[kQ + ".weight_packed"] = Tensor(DType::f32, {64, 6});
        },
        ErrorCode::mismatch,
        {"weight_packed", "F32", "I32"}},
       {"stored twice",
        [](TinyModel& m) {
          m[kQ + ".weight"] = Tensor(DType::bf16, {64, 64});
        },
        ErrorCode::invalid,
        {"q_proj.weight", "twice"}},
       {"floats of 3 bits",
        [](TinyModel& m) { group_0(m)["weights"]["type"] = "float"; },
        ErrorCode::unsupported,
        {"config_groups.group_0.weights", "num_bits 3", "4 or 8"}},
       {"asymmetric floats",
        [](TinyModel& m) {
          group_0(m)["weights"].update(Json{{"type", "float"}, {"num_bits", 8}});
        },
        ErrorCode::unsupported,
        {"config_groups.group_0.weights", "zero point"}},
       {"another type",
        [](TinyModel& m) { group_0(m)["weights"]["type"] = "posit"; },
        ErrorCode::unsupported,
        {"config_groups.group_0.weights", "posit"}},
       {"block scales of integers",
        [](TinyModel& m) {
          group_0(m)["weights"].update(Json{{"strategy", "block"}, {"block_structure", {16, 16}}});
        },
        ErrorCode::unsupported,
        {"block", "integers"}},
       {"blocks of no size",
        [](TinyModel& m) { group_0(m)["weights"]["strategy"] = "block"; },
        ErrorCode::invalid,
        {"block_structure", "none"}},
       {"a module under ignore",
        [](TinyModel& m) {
          m.config["quantization_config"]["ignore"] = {"lm_head", "re:.*q_proj"};
        },
        ErrorCode::mismatch,
        {"ignore", "q_proj", "stored quantized"}},
       {"a target in floats",
        [](TinyModel& m) {
          for (const char* tensor : {".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape"})
            m.erase(kQ + tensor);
          m[kQ + ".weight"] = Tensor(DType::bf16, {64, 64});
        },
        ErrorCode::mismatch,
        {"q_proj.weight", "BF16", "int3", "ignore"}},
       {"a list of numbers under ignore",
        [](TinyModel& m) { m.config["quantization_config"]["ignore"] = {1}; },
        ErrorCode::invalid,
        {"ignore", "strings"}},
       {"a cache of odd floats",
        [](TinyModel& m) {
          m.config["quantization_config"]["kv_cache_scheme"] = Json{{"type", "float"}, {"num_bits", 5}};
        },
        ErrorCode::unsupported,
        {"kv_cache_scheme", "num_bits 5"}},
       {"no groups",
        [](TinyModel& m) { m.config["quantization_config"].erase("config_groups"); },
        ErrorCode::invalid,
        {"config_groups"}},
       {"another format",
        [](TinyModel& m) { m.config["quantization_config"]["format"] = "marlin-24"; },
        ErrorCode::unsupported,
        {"marlin-24", "pack-quantized"}},
       {"sparsity",
        [](TinyModel& m) {
          m.config["quantization_config"]["sparsity_config"] = Json{{"format", "sparse-24-bitmask"}};
        },
        ErrorCode::unsupported,
        {"sparse-24-bitmask"}},
       {"online transforms",
        [](TinyModel& m) {
          m.config["quantization_config"]["transform_config"] = Json{{"config_groups", 1}};
        },
        ErrorCode::unsupported,
        {"transform_config"}},
       {"no target",
        [](TinyModel& m) { group_0(m)["targets"] = Json::array({"re:.*k_proj"}); },
        ErrorCode::mismatch,
        {"no target matches", "group_0"}},
       {"a malformed pattern",
        [](TinyModel& m) { group_0(m)["targets"] = Json::array({"re:(k_proj"}); },
        ErrorCode::invalid,
        {"(k_proj", "malformed"}}});
}

TEST(CompressedTensors, BrokenFoldersOfFloats) {
  expect_broken({.container = "compressed-tensors", .grid = {"fp8", 8, true, 32, DType::bf16, 32}},
                {{"scales of other blocks",
                  [](TinyModel& m) {
                    m[kQ + ".weight_scale"] = Tensor(DType::bf16, {64, 1});
                  },
                  ErrorCode::mismatch,
                  {"q_proj.weight_scale", "[64, 1]", "floats [2, 2]"}},
                 {"integers instead",
                  [](TinyModel& m) {
                    m[kQ + ".weight"] = Tensor(DType::i8, {64, 64});
                  },
                  ErrorCode::mismatch,
                  {"q_proj.weight", "I8", "F8_E4M3"}},
                 {"no scale", [](TinyModel& m) { m.erase(kQ + ".weight_scale"); }, ErrorCode::mismatch, {"F8_E4M3"}}});
  expect_broken({.container = "compressed-tensors", .grid = *find_format("nvfp4").value()->fixed},
                {{"no tensor scale",
                  [](TinyModel& m) { m.erase(kQ + ".weight_global_scale"); },
                  ErrorCode::not_found,
                  {"q_proj.weight_global_scale"}},
                 {"an infinite tensor scale",
                  [](TinyModel& m) { m[kQ + ".weight_global_scale"].as<float>()[0] = __builtin_inff(); },
                  ErrorCode::invalid,
                  {"q_proj.weight_global_scale", "positive"}},
                 {"the group of MXFP4",
                  [](TinyModel& m) {
                    group_0(m)["weights"].update(Json{{"strategy", "group"}, {"group_size", 32}});
                  },
                  ErrorCode::mismatch,
                  {"down_proj.weight_scale", "F8_E4M3", "U8 [64, 3]"}}});
}

TEST(CompressedTensors, BrokenStaticInputs) {
  const QuantizedFolder options{.container = "compressed-tensors",
                                .grid = {"int", 8, true, 0, DType::bf16},
                                .activation = ActivationSpec{.dynamic = false, .per_token = false, .scale = 1}};
  expect_broken(
      options,
      {{"no input scale", [](TinyModel& m) { m.erase(kQ + ".input_scale"); }, ErrorCode::not_found, {"input_scale"}},
       {"a NaN scale",
        [](TinyModel& m) { m[kQ + ".input_scale"].as<float>()[0] = __builtin_nanf(""); },
        ErrorCode::invalid,
        {"q_proj.input_scale", "positive"}},
       {"many scales",
        [](TinyModel& m) { m[kQ + ".input_scale"] = Tensor(DType::f32, {2}); },
        ErrorCode::mismatch,
        {"q_proj.input_scale", "[2]"}},
       {"static tokens",
        [](TinyModel& m) { group_0(m)["input_activations"]["strategy"] = "token"; },
        ErrorCode::unsupported,
        {"input_activations", "static", "token"}}});
}

// Files as older releases and other writers leave them.
TEST(CompressedTensors, ReadsColumnGroupsAndPaddedWords) {
  const TempDir dir;
  QuantizedFolder options{.container = "compressed-tensors", .grid = {"int", 3, true, 32, DType::bf16}};
  TinyModel model = quantized(options, dir);
  const auto plain = open_model(dir.path("quantized"));
  VN_ASSERT_OK(plain);
  std::vector<float> wanted(64 * 64), found(64 * 64);
  (*(*plain)->matrix(kQ + ".weight"))->decode_rows(0, 64, wanted.data());

  // The same codes, ten to a word.
  Tensor& dense = model[kQ + ".weight_packed"];
  Tensor padded(DType::i32, {64, 7});
  for (std::int64_t r = 0; r < 64; ++r) {
    const std::uint32_t* from = dense.as<std::uint32_t>().data() + r * 6;
    std::uint32_t* to = padded.as<std::uint32_t>().data() + r * 7;
    for (std::int64_t c = 0; c < 64; ++c) {
      std::uint64_t bits = from[c * 3 / 32];
      if (c * 3 / 32 + 1 < 6) bits |= std::uint64_t{from[c * 3 / 32 + 1]} << 32;
      to[c / 10] |= static_cast<std::uint32_t>(bits >> (c * 3 % 32) & 7) << (c % 10 * 3);
    }
  }
  dense = std::move(padded);
  // An order that swaps the two groups in the first row block of columns; -1 everywhere would mean none.
  Tensor order(DType::i32, {64});
  for (std::int64_t c = 0; c < 64; ++c) order.as<std::int32_t>()[c] = -1;
  model[kQ + ".weight_g_idx"] = std::move(order);
  auto source = open(model, dir);
  VN_ASSERT_OK(source);
  (*(*source)->matrix(kQ + ".weight"))->decode_rows(0, 64, found.data());
  EXPECT_EQ(found, wanted);

  for (std::int64_t c = 0; c < 64; ++c) model[kQ + ".weight_g_idx"].as<std::int32_t>()[c] = c < 32 ? 1 : 0;
  source = open(model, dir);
  VN_ASSERT_OK(source);
  (*(*source)->matrix(kQ + ".weight"))->decode_rows(0, 64, found.data());
  const Tensor& scale = model[kQ + ".weight_scale"];
  const auto scale_at = [&](std::int64_t i) {
    return __builtin_bit_cast(float, std::uint32_t{scale.as<std::uint16_t>()[i]} << 16);
  };
  for (const std::int64_t c : {0, 31, 32, 63})
    EXPECT_EQ(found[c] / scale_at(c < 32 ? 1 : 0), wanted[c] / scale_at(c < 32 ? 0 : 1)) << c;

  model[kQ + ".weight_g_idx"].as<std::int32_t>()[5] = 2;
  EXPECT_REFUSED(open(model, dir), ErrorCode::invalid, "weight_g_idx", "column 5", "group 2 of 2");
}

TEST(CompressedTensors, TargetsByPatternAndName) {
  const TempDir dir;
  TinyModel model = quantized(kPacked, dir);
  const Json args = group_0(model)["weights"];
  Json eight = args;
  eight["num_bits"] = 8;
  // Names win over patterns, patterns over classes: every wrong choice would misread the 3-bit codes.
  model.config["quantization_config"]["config_groups"] =
      Json{{"a", {{"targets", {"Linear"}}, {"weights", eight}}},
           {"b", {{"targets", {"re:.*(attn|mlp)\\.[a-z]+_proj$"}}, {"weights", args}}}};
  VN_EXPECT_OK(open(model, dir));
  model.config["quantization_config"]["config_groups"]["b"]["targets"] = {"re:.*(k|v|o|gate|up|down)_proj", kQ};
  VN_EXPECT_OK(open(model, dir));
}

Json& described(TinyModel& model) { return model.config["quantization_config"]["weights"][kQ + ".weight"]; }

TEST(VernierContainer, BrokenPanels) {
  expect_broken({.container = "vernier", .grid = {"int", 4, false, 32, DType::bf16}},
                {{"another layout",
                  [](TinyModel& m) { m.config["quantization_config"]["panel_layout"] = 9; },
                  ErrorCode::unsupported,
                  {"panel_layout 9", "reads layout 1"}},
                 {"no panels",
                  [](TinyModel& m) { m.erase(kQ + ".weight.panels"); },
                  ErrorCode::not_found,
                  {"q_proj.weight.panels"}},
                 {"a truncated panel",
                  [](TinyModel& m) { m[kQ + ".weight.panels"] = Tensor(DType::u8, {100}); },
                  ErrorCode::mismatch,
                  {"q_proj.weight.panels", "[100]"}}});
}

TEST(VernierContainer, BrokenFolders) {
  expect_broken(
      kOwn,
      {{"a later version",
        [](TinyModel& m) { m.config["quantization_config"]["version"] = 3; },
        ErrorCode::unsupported,
        {"version 3", "reads version 2"}},
       {"no version",
        [](TinyModel& m) { m.config["quantization_config"].erase("version"); },
        ErrorCode::unsupported,
        {"version is missing"}},
       {"no codes", [](TinyModel& m) { m.erase(kQ + ".weight.codes"); }, ErrorCode::not_found, {"q_proj.weight.codes"}},
       {"wrong codes",
        [](TinyModel& m) {
          m[kQ + ".weight.codes"] = Tensor(DType::u8, {64, 32});
        },
        ErrorCode::mismatch,
        {"q_proj.weight.codes", "[64, 32]", "[64, 40]"}},
       {"another shape",
        [](TinyModel& m) {
          described(m)["shape"] = {64, 63};
        },
        ErrorCode::mismatch,
        {"q_proj"}},
       {"a huge shape",
        [](TinyModel& m) {
          described(m)["shape"] = {64, 1e18};
        },
        ErrorCode::invalid,
        {"shape"}},
       {"bad bits", [](TinyModel& m) { described(m)["bits"] = 9; }, ErrorCode::unsupported, {"q_proj", "9"}},
       {"bad format", [](TinyModel& m) { described(m)["format"] = "flint"; }, ErrorCode::not_found, {"flint"}},
       {"bad dtype", [](TinyModel& m) { described(m)["scale_dtype"] = "F15"; }, ErrorCode::invalid, {"F15"}},
       {"bad group", [](TinyModel& m) { described(m)["group"] = -2; }, ErrorCode::invalid, {"group", "-2"}},
       {"unknown key",
        [](TinyModel& m) { described(m)["symetric"] = true; },
        ErrorCode::invalid,
        {"symetric", "did you mean \"symmetric\"?"}},
       {"missing key",
        [](TinyModel& m) { described(m).erase("column_groups"); },
        ErrorCode::invalid,
        {"column_groups"}},
       {"not an object",
        [](TinyModel& m) { m.config["quantization_config"]["weights"] = 3; },
        ErrorCode::invalid,
        {"weights"}},
       {"bad activation",
        [](TinyModel& m) {
          described(m)["activation"] = Json{{"bits", 8}};
        },
        ErrorCode::invalid,
        {"activation", "symmetric"}},
       {"stored twice",
        [](TinyModel& m) {
          m[kQ + ".weight"] = Tensor(DType::bf16, {64, 64});
        },
        ErrorCode::invalid,
        {"twice"}}});
}

}  // namespace
}  // namespace vernier
