// Every container gives back exactly the numbers that were encoded, for every grid it takes.
#include <algorithm>
#include <cstring>
#include <vector>

#include "containers/quantized_folder.h"
#include "containers/tiny_model.h"
#include "io/files.h"
#include "support/support.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

using testing::QuantizedFolder;
using testing::TempDir;
using testing::TinyModel;
using testing::WrittenFolder;

std::vector<float> decode(const WeightMatrix& matrix) {
  std::vector<float> values(matrix.rows() * matrix.cols());
  matrix.decode_rows(0, matrix.rows(), values.data());
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Writes `checkpoint` as `options` say, opens it, and compares every tensor and quantizer with what was planned.
void expect_round_trip(const Checkpoint& checkpoint, const QuantizedFolder& options) {
  SCOPED_TRACE(options.container + " " + options.grid.text());
  const TempDir dir;
  const std::string folder = dir.path("out");
  Result<WrittenFolder> written = testing::write_folder(checkpoint, options, folder);
  VN_ASSERT_OK(written);
  auto source = open_model(folder);
  VN_ASSERT_OK(source);
  EXPECT_EQ((*source)->container(), options.container);
  EXPECT_EQ((*source)->tensors().size(), written->plan.weights.size());

  for (const WeightPlan& weight : written->plan.weights) {
    SCOPED_TRACE(weight.name);
    if (!weight.grid) {
      if (weight.shape.rank() != 1) continue;
      auto vector = (*source)->vector(weight.name);
      VN_ASSERT_OK(vector);
      auto original = checkpoint.view(weight.name);
      VN_ASSERT_OK(original);
      EXPECT_EQ(vector->bytes().size(), original->shape.elements() * sizeof(float));
      EXPECT_EQ(vector->as<float>()[0], to_float_tensor(*original, weight.name).value().as<float>()[0]);
      continue;
    }
    const GridPart& part = written->parts.at(weight.name);
    std::vector<float> wanted(part.rows * part.cols);
    part.decode_rows(0, part.rows, wanted.data());
    auto matrix = (*source)->matrix(weight.name);
    VN_ASSERT_OK(matrix);
    ASSERT_EQ((*matrix)->rows(), part.rows);
    ASSERT_EQ((*matrix)->cols(), part.cols);
    EXPECT_TRUE(same_bits(decode(**matrix), wanted));
    // Rows on their own are the rows of the whole.
    std::vector<float> row(part.cols);
    (*matrix)->decode_rows(part.rows - 1, 1, row.data());
    EXPECT_EQ(std::memcmp(row.data(), wanted.data() + (part.rows - 1) * part.cols, row.size() * sizeof(float)), 0);

    const auto activation = (*source)->activation(weight.name);
    ASSERT_EQ(activation.has_value(), weight.activation.has_value());
    if (activation) {
      EXPECT_EQ(*activation, *weight.activation);
    }
  }

  // After its pages were given back, a matrix reads the same.
  const WeightPlan& weight = *std::find_if(written->plan.weights.begin(), written->plan.weights.end(),
                                           [](const WeightPlan& w) { return w.grid.has_value(); });
  auto matrix = (*source)->matrix(weight.name);
  VN_ASSERT_OK(matrix);
  const std::vector<float> before = decode(**matrix);
  (*source)->release((*source)->graph().blocks[0]);
  EXPECT_TRUE(same_bits(decode(**matrix), before));
  // A matrix outlives its source.
  source->reset();
  EXPECT_TRUE(same_bits(decode(**matrix), before));
}

class RoundTrip : public ::testing::Test {
 protected:
  void SetUp() override {
    VN_ASSERT_OK(TinyModel::make().write(dir_.path("model")));
    auto checkpoint = Checkpoint::open(dir_.path("model"));
    VN_ASSERT_OK(checkpoint);
    checkpoint_ = std::move(checkpoint).value();
  }

  TempDir dir_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_F(RoundTrip, EveryBitWidthAndLayout) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      for (const std::int64_t group : {std::int64_t{32}, std::int64_t{0}, std::int64_t{-1}}) {
        const GridSpec grid{"int", bits, symmetric, group, DType::bf16};
        expect_round_trip(*checkpoint_, {.container = "compressed-tensors", .grid = grid});
        expect_round_trip(*checkpoint_, {.container = "vernier", .grid = grid});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(RoundTrip, TailGroupsAndColumnOrderInVernier) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      expect_round_trip(*checkpoint_, {.grid = {"int", bits, symmetric, 40, DType::f16}});
      expect_round_trip(*checkpoint_, {.grid = {"int", bits, symmetric, 32, DType::f16}, .column_groups = true});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(RoundTrip, IntegersInGptqAndAwq) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      for (const std::int64_t group : {32, 0})
        expect_round_trip(*checkpoint_, {.container = "gptq", .grid = {"int", bits, symmetric, group, DType::f16}});
      expect_round_trip(*checkpoint_,
                        {.container = "gptq", .grid = {"int", bits, symmetric, 32, DType::f16}, .column_groups = true});
      if (HasFatalFailure()) return;
    }
  }
  expect_round_trip(*checkpoint_, {.container = "awq", .grid = {"int", 4, false, 32, DType::f16}});
}

TEST_F(RoundTrip, DualGrainsInVernier) {
  for (int bits = 2; bits <= 4; ++bits)
    for (const bool symmetric : {true, false})
      for (const std::int64_t group : {32, 40}) {
        const GridSpec grid{"dual", bits, symmetric, group, DType::f32};
        expect_round_trip(*checkpoint_, {.grid = grid, .activation = ActivationSpec{}});
        expect_round_trip(*checkpoint_, {.grid = grid, .column_groups = true});
        if (HasFatalFailure()) return;
      }
}

TEST_F(RoundTrip, SmallFloats) {
  const GridSpec mxfp4 = *find_format("mxfp4").value()->fixed, nvfp4 = *find_format("nvfp4").value()->fixed;
  for (const char* container : {"compressed-tensors", "vernier"}) {
    for (const std::int64_t group : {0, -1})
      expect_round_trip(*checkpoint_, {.container = container, .grid = {"fp8", 8, true, group, DType::bf16}});
    expect_round_trip(*checkpoint_, {.container = container, .grid = {"fp8", 8, true, 32, DType::bf16, 48}});
    expect_round_trip(*checkpoint_, {.container = container, .grid = nvfp4});
    expect_round_trip(*checkpoint_, {.container = container, .grid = mxfp4});
    const ActivationSpec dynamic{.floating = true};
    const ActivationSpec fixed{.dynamic = false, .per_token = false, .floating = true, .scale = 0.03f};
    const ActivationSpec grouped{.group = 32, .floating = true};
    expect_round_trip(*checkpoint_,
                      {.container = container, .grid = {"fp8", 8, true, 32, DType::bf16, 32}, .activation = grouped});
    for (const ActivationSpec& activation : {dynamic, fixed})
      expect_round_trip(*checkpoint_,
                        {.container = container, .grid = {"fp8", 8, true, 0, DType::bf16}, .activation = activation});
  }
}

TEST_F(RoundTrip, QuantizedInputs) {
  const ActivationSpec dynamic{.full_range = true};
  const ActivationSpec dynamic_asymmetric{.symmetric = false};
  const ActivationSpec fixed{.dynamic = false, .per_token = false, .full_range = true, .scale = 0.03f};
  const ActivationSpec fixed_asymmetric{
      .symmetric = false, .dynamic = false, .per_token = false, .scale = 0.03f, .zero = 100};
  for (const ActivationSpec& activation : {dynamic, dynamic_asymmetric, fixed, fixed_asymmetric}) {
    for (const std::int64_t group : {0, -1}) {
      const GridSpec grid{"int", 8, true, group, DType::bf16};
      expect_round_trip(*checkpoint_, {.container = "compressed-tensors", .grid = grid, .activation = activation});
      expect_round_trip(*checkpoint_, {.container = "vernier", .grid = grid, .activation = activation});
    }
  }
  // What only the own container stores.
  ActivationSpec odd = dynamic;
  odd.bits = 6;
  odd.full_range = false;
  expect_round_trip(*checkpoint_, {.grid = {"int", 4, false, 32, DType::f16}, .activation = odd});
}

TEST_F(RoundTrip, ASchemeForTheCacheIsAHint) {
  const TempDir dir;
  const std::string folder = dir.path("out");
  VN_ASSERT_OK(testing::write_folder(
      *checkpoint_, {.container = "compressed-tensors", .grid = {"int", 4, true, 32, DType::bf16}}, folder));
  auto model = TinyModel::read(folder);
  VN_ASSERT_OK(model);
  EXPECT_EQ((*open_model(folder))->kv_bits(), 0);
  model->config["quantization_config"]["kv_cache_scheme"] =
      Json{{"type", "float"}, {"num_bits", 8}, {"strategy", "tensor"}, {"dynamic", false}, {"symmetric", true}};
  for (const char* name : {"k_scale", "v_scale"})
    model->tensors.emplace_back(std::string("model.layers.0.self_attn.") + name, Tensor(DType::f32, {1}));
  VN_ASSERT_OK(model->write(folder));
  const auto source = open_model(folder);
  VN_ASSERT_OK(source);
  EXPECT_EQ((*source)->kv_bits(), 8);
  for (const SourceTensor& tensor : (*source)->tensors()) EXPECT_FALSE(tensor.name.ends_with("_scale")) << tensor.name;
}

TEST_F(RoundTrip, MixedPlans) {
  for (const char* container : {"compressed-tensors", "vernier"}) {
    QuantizedFolder options{.container = container, .grid = {"int", 4, true, 32, DType::bf16}};
    options.choose = [](WeightPlan& weight) {
      if (weight.name.ends_with("down_proj.weight")) weight.grid->bits = 8;
      if (weight.name.ends_with("v_proj.weight")) weight.grid.reset();
      if (weight.name.ends_with("o_proj.weight")) {
        weight.grid = GridSpec{"int", 8, true, 0, DType::bf16};
        weight.activation = ActivationSpec{.full_range = true};
      }
      if (weight.name.ends_with("k_proj.weight")) weight.grid = *find_format("nvfp4").value()->fixed;
      if (weight.name.ends_with("up_proj.weight")) weight.grid = GridSpec{"fp8", 8, true, 0, DType::bf16};
    };
    expect_round_trip(*checkpoint_, options);
  }
}

TEST(RoundTripBundled, BooksInBothContainers) {
  auto checkpoint = Checkpoint::open(testing::bundled_model());
  VN_ASSERT_OK(checkpoint);
  for (const char* container : {"compressed-tensors", "vernier"})
    expect_round_trip(**checkpoint, {.container = container, .grid = {"int", 4, true, 128, DType::bf16}});
}

TEST_F(RoundTrip, LayoutOfTheHandbook) {
  const auto layout = [](WeightPlan weight) {
    std::vector<std::string> lines;
    for (const TensorEntry& entry : find_container("compressed-tensors").value()->layout(weight))
      lines.push_back(entry.name + " " + std::string(name(entry.dtype)) + " " + entry.shape.text());
    return lines;
  };
  WeightPlan weight{.name = "a.weight", .shape = {72, 160}, .grid = GridSpec{"int", 3, false, 32, DType::bf16}};
  // 160 codes of 3 bits are 15 words; 72 zeros of 3 bits are 216 bits, 7 words.
  EXPECT_EQ(layout(weight), (std::vector<std::string>{"a.weight_packed I32 [72, 15]", "a.weight_scale BF16 [72, 5]",
                                                      "a.weight_zero_point I32 [7, 5]", "a.weight_shape I64 [2]"}));
  weight.grid = GridSpec{"int", 8, true, 0, DType::f16};
  weight.activation = ActivationSpec{.symmetric = false, .dynamic = false};
  EXPECT_EQ(layout(weight), (std::vector<std::string>{"a.weight I8 [72, 160]", "a.weight_scale F16 [72, 1]",
                                                      "a.input_scale F32 [1]", "a.input_zero_point I8 [1]"}));
}

TEST_F(RoundTrip, ConfigAsCompressedTensorsWantsIt) {
  const TempDir dir;
  VN_ASSERT_OK(testing::write_folder(
      *checkpoint_, {.container = "compressed-tensors", .grid = {"int", 4, true, 32, DType::bf16}}, dir.path("out")));
  const Json config = TinyModel::read(dir.path("out"))->config;
  EXPECT_EQ(config["hidden_size"], 64);
  const Json& q = config["quantization_config"];
  EXPECT_EQ(q["quant_method"], "compressed-tensors");
  EXPECT_EQ(q["format"], "pack-quantized");
  EXPECT_EQ(q["quantization_status"], "compressed");
  EXPECT_EQ(q["ignore"], Json::array({"lm_head"}));
  const Json& group = q["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], Json::array({"Linear"}));
  EXPECT_EQ(group["weights"]["num_bits"], 4);
  EXPECT_EQ(group["weights"]["strategy"], "group");
  EXPECT_EQ(group["weights"]["group_size"], 32);
  EXPECT_TRUE(group["input_activations"].is_null());
  EXPECT_FALSE(group.contains("format"));  // older releases refuse the key
}

}  // namespace
}  // namespace vernier
