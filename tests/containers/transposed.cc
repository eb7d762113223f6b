// GPTQ and AWQ files: the words of the handbook, codes back from every container, and what contradicts itself.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "containers/quantized_folder.h"
#include "containers/tiny_model.h"
#include "containers/transposed/transposed.h"
#include "formats/int/grid.h"
#include "io/checkpoint.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::QuantizedFolder;
using testing::TempDir;
using testing::TinyModel;

// A weight whose codes, zeros and scales are given by functions of (output, input or group).
GridPart part_of(const WeightPlan& plan, const std::function<int(std::int64_t, std::int64_t)>& code, int zero) {
  GridPart part{.rows = plan.shape[0], .cols = plan.shape[1]};
  part.grid = make_grid(*plan.grid).value();
  for (std::int64_t r = 0; r < part.rows; ++r)
    for (std::int64_t c = 0; c < part.cols; ++c) part.codes.push_back(static_cast<std::uint8_t>(code(r, c)));
  for (std::int64_t i = 0; i < part.rows * part.groups(); ++i) {
    part.params.push_back(0.5f);
    part.params.push_back(static_cast<float>(zero));
  }
  return part;
}

std::vector<std::uint32_t> words(const Tensor& tensor) {
  std::vector<std::uint32_t> out(tensor.bytes().size() / 4);
  std::memcpy(out.data(), tensor.bytes().data(), tensor.bytes().size());
  return out;
}

const ContainerDescriptor& container(std::string_view name) { return *find_container(name).value(); }

constexpr int kCodes[8] = {3, 14, 0, 15, 7, 8, 1, 9};

TEST(Transposed, GptqWordsOfTheHandbook) {
  WeightPlan plan{.name = "a.weight", .shape = {32, 32}, .grid = GridSpec{"int", 4, true, 32, DType::f16}};
  auto tensors = container("gptq").encode(plan, part_of(
                                                    plan, [](auto, auto c) { return kCodes[c % 8]; }, 8));
  VN_ASSERT_OK(tensors);
  ASSERT_EQ(tensors->size(), 4u);
  for (const std::uint32_t word : words((*tensors)[0])) EXPECT_EQ(word, 0x9187F0E3u);
  for (const std::uint32_t word : words((*tensors)[1])) EXPECT_EQ(word, 0x77777777u);  // version 1: less one
  EXPECT_EQ(words((*tensors)[3])[31], 0u);

  plan.grid->symmetric = false;
  tensors = container("gptq").encode(plan, part_of(
                                               plan, [](auto, auto c) { return kCodes[c % 8]; }, 8));
  VN_ASSERT_OK(tensors);
  for (const std::uint32_t word : words((*tensors)[1])) EXPECT_EQ(word, 0x88888888u);

  plan.grid = GridSpec{"int", 3, true, 32, DType::f16};
  tensors = container("gptq").encode(plan, part_of(
                                               plan, [](auto, auto c) { return (5 * c + 2) % 8; }, 4));
  VN_ASSERT_OK(tensors);
  const std::vector<std::uint32_t> codes = words((*tensors)[0]), zeros = words((*tensors)[1]);
  ASSERT_EQ(codes.size(), 3u * 32);
  EXPECT_EQ(codes[5], 0x3AA1E33Au);
  EXPECT_EQ(codes[32 + 5], 0xE33AA1E3u);
  EXPECT_EQ(codes[64 + 5], 0xA1E33AA1u);
  EXPECT_EQ(zeros, (std::vector<std::uint32_t>{0xDB6DB6DB, 0xB6DB6DB6, 0x6DB6DB6D}));
}

TEST(Transposed, AwqWordsOfTheHandbook) {
  const WeightPlan plan{.name = "a.weight", .shape = {8, 32}, .grid = GridSpec{"int", 4, false, 32, DType::f16}};
  auto tensors = container("awq").encode(plan, part_of(
                                                   plan, [](auto r, auto) { return kCodes[r]; }, 5));
  VN_ASSERT_OK(tensors);
  ASSERT_EQ(tensors->size(), 3u);
  for (const std::uint32_t word : words((*tensors)[0])) EXPECT_EQ(word, 0x98FE1703u);
  for (const std::uint32_t word : words((*tensors)[1])) EXPECT_EQ(word, 0x55555555u);
}

class TransposedFolder : public ::testing::Test {
 protected:
  // Writes the tiny model as `options` say, changes what is on disk, and opens it.
  Result<std::unique_ptr<ModelSource>> open(
      const QuantizedFolder& options, const std::function<void(TinyModel&)>& change = [](TinyModel&) {}) {
    VN_TRY(TinyModel::make().write(dir_.path("model")));
    VN_ASSIGN(checkpoint_, Checkpoint::open(dir_.path("model")));
    const std::string folder = dir_.path("out" + std::to_string(count_++));
    VN_ASSIGN(written_, testing::write_folder(*checkpoint_, options, folder));
    VN_ASSIGN(TinyModel model, TinyModel::read(folder));
    change(model);
    VN_TRY(model.write(folder));
    return open_model(folder);
  }
  void expect_error(const QuantizedFolder& options, const std::function<void(TinyModel&)>& change,
                    const std::string& text) {
    const auto source = open(options, change);
    ASSERT_FALSE(source.ok());
    EXPECT_NE(source.error().text().find(text), std::string::npos) << source.error().text();
  }

  TempDir dir_;
  std::unique_ptr<Checkpoint> checkpoint_;
  testing::WrittenFolder written_;
  int count_ = 0;
};

TEST_F(TransposedFolder, CodesComeBack) {
  const std::vector<QuantizedFolder> cases = {
      {.container = "gptq", .grid = {"int", 3, true, 32, DType::f16}},
      {.container = "gptq", .grid = {"int", 4, false, 32, DType::f16}, .column_groups = true},
      {.container = "gptq", .grid = {"int", 8, false, 0, DType::f16}},
      {.container = "awq", .grid = {"int", 4, false, 32, DType::f16}}};
  for (const QuantizedFolder& options : cases) {
    SCOPED_TRACE(options.container + " " + options.grid.text());
    auto source = open(options);
    VN_ASSERT_OK(source);
    for (const auto& [name, wanted] : written_.parts) {
      auto part = (*source)->part(name);
      VN_ASSERT_OK(part);
      EXPECT_EQ(part->codes, wanted.codes) << name;
      EXPECT_EQ(part->params, wanted.params) << name;
      EXPECT_EQ(part->group_of_column, wanted.group_of_column) << name;
      EXPECT_EQ(part->grid->spec(), wanted.grid->spec()) << name;
    }
  }
}

const QuantizedFolder kGptq{.container = "gptq", .grid = {"int", 4, true, 32, DType::f16}};
const QuantizedFolder kAwq{.container = "awq", .grid = {"int", 4, false, 32, DType::f16}};
constexpr const char* kLinear = "model.layers.0.self_attn.q_proj";

TEST_F(TransposedFolder, ConfigThatContradictsTheTensors) {
  const auto set = [](const char* key, const Json& value) {
    return [=](TinyModel& model) { model.config["quantization_config"][key] = value; };
  };
  expect_error(kGptq, set("bits", 8), "wanted");
  expect_error(kGptq, set("bits", 5), "bits");
  expect_error(kGptq, set("group_size", 16), "scales is F16");
  expect_error(kGptq, set("group_size", 0), "group_size");
  expect_error(kGptq, set("group_size", "many"), "group_size");
  expect_error(kGptq, set("checkpoint_format", "gptq_p"), "checkpoint_format");
  expect_error(kGptq, set("checkpoint_format", "gptq_v2"), "wants zeros of 8, found 7");
  expect_error(kGptq, set("dynamic", Json{{"+:.*down.*", {{"bits", 8}}}}), "dynamic");
  expect_error(kAwq, set("bits", 8), "bits");
  expect_error(kAwq, set("version", "gemv"), "version");
  expect_error(kAwq, set("zero_point", false), "zero_point");
  expect_error(kAwq, set("group_size", 64), "scales is F16");
}

TEST_F(TransposedFolder, TensorsThatAreWrong) {
  const std::string linear = kLinear;
  expect_error(
      kGptq, [&](TinyModel& m) { m.erase(linear + ".scales"); }, "scales");
  expect_error(
      kGptq, [&](TinyModel& m) { m.erase(linear + ".qzeros"); }, "qzeros");
  expect_error(
      kGptq,
      [&](TinyModel& m) {
        m[linear + ".qweight"] = Tensor(DType::f16, {8, 64});
      },
      "qweight is F16");
  expect_error(
      kGptq, [&](TinyModel& m) { m[linear + ".g_idx"] = Tensor(DType::i32, {63}); }, "g_idx is I32 [63]");
  expect_error(
      kGptq,
      [&](TinyModel& m) {
        const std::int32_t far = 7;
        std::memcpy(m[linear + ".g_idx"].bytes().data(), &far, sizeof far);
      },
      "puts column 0 into group 7 of 2");
  expect_error(
      kAwq,
      [&](TinyModel& m) {
        m[linear + ".qzeros"] = Tensor(DType::i32, {2, 4});
      },
      "qzeros is I32 [2, 4]");
}

TEST_F(TransposedFolder, RefusesWhatItCannotHold) {
  const auto refused = [&](const QuantizedFolder& options, const std::string& text) {
    const OutputPlan plan = testing::plan_folder(*checkpoint_, options);
    const Status status = container(options.container).accepts(plan);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().text().find(text), std::string::npos) << status.error().text();
  };
  VN_ASSERT_OK(open(kGptq));
  refused({.container = "gptq", .grid = {"int", 5, true, 32, DType::f16}}, "2, 3, 4 or 8 bits");
  refused({.container = "gptq", .grid = {"int", 4, true, 32, DType::bf16}}, "scales are F16");
  refused({.container = "gptq", .grid = {"int", 4, true, -1, DType::f16}}, "per tensor");
  refused({.container = "gptq", .grid = {"int", 4, true, 40, DType::f16}}, "multiple of the group");
  refused({.container = "gptq", .grid = {"dual", 4, true, 32, DType::f32}}, "format int");
  refused({.container = "awq", .grid = {"int", 4, true, 32, DType::f16}}, "asymmetric 4 bits");
  refused({.container = "awq", .grid = {"int", 4, false, 32, DType::f16}, .column_groups = true}, "columns' order");
  QuantizedFolder mixed = kGptq;
  mixed.choose = [](WeightPlan& weight) {
    if (weight.grid && weight.name.ends_with("down_proj.weight")) weight.grid->bits = 8;
  };
  refused(mixed, "all weights have one grid");
}

}  // namespace
}  // namespace vernier
