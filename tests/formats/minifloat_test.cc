// Small floats against their formula, and against torch and compressed-tensors (tests/golden/make_minifloats.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/json.h"
#include "base/random.h"
#include "formats/minifloat/codec.h"
#include "formats/minifloat/grid.h"
#include "formats/range.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

Json golden() {
  const std::string path = testing::source_dir() + "/tests/golden/minifloats.json";
  return parse_json(read_text_file(path).value(), path).value();
}

template <class T>
std::vector<T> from_hex(const Json& json) {
  const auto text = json.get<std::string>();
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The formula of the handbook in doubles.
double formula(int code, int exponent_bits, int mantissa_bits, int bias) {
  const int sign = code >> (exponent_bits + mantissa_bits);
  const int e = code >> mantissa_bits & ((1 << exponent_bits) - 1), m = code & ((1 << mantissa_bits) - 1);
  const double mantissa = std::ldexp(m, -mantissa_bits);
  const double magnitude = e == 0 ? std::ldexp(mantissa, 1 - bias) : std::ldexp(1 + mantissa, e - bias);
  return sign ? -magnitude : magnitude;
}

// The nearest code by trying all of them; ties to the even one.
template <class Codec>
int nearest(float x) {
  int best = 0;
  for (int code = 0; code <= Codec::top_code; ++code) {
    const double miss = std::fabs(double{Codec::values[code]} - std::fabs(x));
    const double least = std::fabs(double{Codec::values[best]} - std::fabs(x));
    if (miss < least || (miss == least && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(x) ? Codec::sign_bit : 0);
}

template <class Codec>
void expect_nearest() {
  std::vector<float> inputs{0.0f, -0.0f, 1e-30f, -1e30f, std::numeric_limits<float>::infinity()};
  for (int code = 0; code <= Codec::top_code; ++code) {
    const float value = Codec::values[code];
    const float next = code < Codec::top_code ? Codec::values[code + 1] : 2 * value;
    const float middle = (value + next) / 2;
    for (float x : {value, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      inputs.push_back(x);
      inputs.push_back(-x);
    }
  }
  const Random random(4);
  for (int i = 0; i < 2000; ++i) inputs.push_back(Codec::top / 3 * random.normal(i));
  for (float x : inputs) {
    const float clamped = std::clamp(x, -Codec::top, Codec::top);
    ASSERT_EQ(Codec::encode(x), nearest<Codec>(clamped)) << x;
  }
}

TEST(Minifloat, DecodesEveryCodeByTheFormula) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F)
      EXPECT_TRUE(std::isnan(E4M3::values[code]));
    else
      EXPECT_EQ(E4M3::values[code], formula(code, 4, 3, 7)) << code;
  }
  for (int code = 0; code < 16; ++code) EXPECT_EQ(E2M1::values[code], formula(code, 2, 1, 1)) << code;
  EXPECT_EQ(E4M3::top, 448.0f);
  EXPECT_EQ(E2M1::top, 6.0f);
  for (int code = 0; code < 255; ++code) EXPECT_EQ(e8m0_value(code), std::ldexp(1.0, code - 127));
  EXPECT_TRUE(std::isnan(e8m0_value(255)));
}

TEST(Minifloat, EncodesToTheNearestCodeAndTiesToEven) {
  expect_nearest<E4M3>();
  expect_nearest<E2M1>();
  EXPECT_EQ(E4M3::encode(std::numeric_limits<float>::quiet_NaN()) & 0x7F, E4M3::top_code);
}

TEST(Minifloat, EqualsTorch) {
  const Json json = golden()["e4m3"];
  const auto values = from_hex<float>(json["values"]), inputs = from_hex<float>(json["inputs"]);
  const auto codes = from_hex<std::uint8_t>(json["codes"]);
  for (int code = 0; code < 256; ++code)
    if (std::isfinite(values[code])) {
      EXPECT_EQ(E4M3::values[code], values[code]);
    }
  ASSERT_EQ(inputs.size(), codes.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_EQ(E4M3::encode(inputs[i]), codes[i]) << inputs[i];
}

// The GridSpec of a case of the golden data, and the stored type of its scales.
struct Case {
  std::string name;
  GridSpec spec;
  DType scale;
};
std::vector<Case> cases() {
  const GridSpec mxfp4 = *find_format("mxfp4").value()->fixed;
  return {{"fp8-tensor", {"fp8", 8, true, -1, DType::f32}, DType::f32},
          {"fp8-channel", {"fp8", 8, true, 0, DType::f32}, DType::f32},
          {"fp8-group", {"fp8", 8, true, 16, DType::f32}, DType::f32},
          {"fp8-block", {"fp8", 8, true, 32, DType::f32, 4}, DType::f32},
          {"nvfp4", nvfp4_spec(), DType::f8_e4m3},
          {"mxfp4", mxfp4, DType::u8}};
}

TEST(Minifloat, DecodesAndEncodesWeightsAsCompressedTensorsDoes) {
  const Json weights = golden()["weights"];
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const Json& json = weights[c.name];
    const auto rows = json["rows"].get<std::int64_t>(), cols = json["cols"].get<std::int64_t>();
    const auto values = from_hex<float>(json["weight"]), wanted = from_hex<float>(json["decoded"]);
    const auto codes = from_hex<std::byte>(json["codes"]), scale = from_hex<std::byte>(json["scale"]);
    MinifloatTensors tensors{c.spec, rows, cols, codes, {c.scale, Shape{}, scale}};
    if (json.contains("divisor")) tensors.divisor = from_hex<float>(json["divisor"])[0];

    std::vector<float> decoded(rows * cols);
    minifloat_matrix(tensors, 0, nullptr)->decode_rows(0, rows, decoded.data());
    EXPECT_EQ(decoded, wanted);
    auto part = minifloat_part(tensors);
    VN_ASSERT_OK(part);
    part->decode_rows(0, rows, decoded.data());
    EXPECT_EQ(decoded, wanted);

    // The package's own bytes again, from the part.
    std::vector<std::byte> bytes(codes.size()), scales(scale.size());
    store_minifloat_codes(*part, bytes);
    EXPECT_EQ(bytes, codes);
    store_minifloat_scales(*part, c.scale, scales);
    EXPECT_EQ(scales, scale);
    if (c.name == "mxfp4") continue;  // its encoder is ggml's: ties, and the exponent, fall otherwise

    GridPart own{.grid = part->grid, .rows = rows, .cols = cols};
    own.params.resize(part->params.size());
    fit_tensor(*own.grid, *make_range({}).value(), {values.data(), rows, cols}, own.params);
    for (std::size_t i = 0; i < own.params.size(); ++i) EXPECT_FLOAT_EQ(own.params[i], part->params[i]);
    std::vector<std::uint8_t> row(cols);
    const std::int64_t group = own.grid->group_columns(cols);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t first = 0; first < cols; first += group) {
        const auto width = static_cast<std::size_t>(std::min(group, cols - first));
        own.grid->encode({&values[r * cols + first], width}, part->params_of(r, first / group), {&row[first], width},
                         {&decoded[first], width});
        EXPECT_TRUE(std::equal(&row[first], &row[first] + width, &part->codes[r * cols + first]));
      }
  }
}

TEST(Minifloat, BlocksShareTheLargestScale) {
  const auto grid = make_grid({"fp8", 8, true, 2, DType::f32, 2}).value();
  const std::vector<float> w{1, 2, 3, 4, 448, 0, 0, 5, 7, 6, 1, 1};  // 3 rows of 4
  std::vector<float> params(6);
  fit_tensor(*grid, *make_range({}).value(), {w.data(), 3, 4}, params);
  EXPECT_EQ(params, (std::vector<float>{1, 5.0f / 448, 1, 5.0f / 448, 7.0f / 448, 1.0f / 448}));
}

TEST(Minifloat, RefusesWhatItCannotBe) {
  const auto text = [](GridSpec spec) { return make_grid(spec).error().text(); };
  EXPECT_NE(text({"fp8", 4, true, 0, DType::f32}).find("bits must be 8"), std::string::npos);
  EXPECT_NE(text({"fp8", 8, false, 0, DType::f32}).find("symmetric must be true"), std::string::npos);
  EXPECT_NE(text({"fp8", 8, true, 0, DType::f32, 128}).find("group_rows"), std::string::npos);
  EXPECT_NE(text({"fp8", 8, true, 0, DType::u8}).find("scale_dtype"), std::string::npos);
  EXPECT_NE(text({"nvfp4", 4, true, 32, DType::f32}).find("group 16"), std::string::npos);
  EXPECT_NE(text({"int", 8, true, 128, DType::f16, 128}).find("group_rows"), std::string::npos);
}

TEST(Minifloat, RefusesCodesAndScalesThatAreNoNumbers) {
  const GridSpec spec{"fp8", 8, true, 0, DType::f32};
  std::vector<std::byte> codes(4), scale(4);
  const float one = 1;
  std::memcpy(scale.data(), &one, 4);
  codes[3] = std::byte{0xFF};
  EXPECT_NE(minifloat_part({spec, 1, 4, codes, {DType::f32, Shape{1, 1}, scale}}).error().text().find("row 0"),
            std::string::npos);
  codes[3] = std::byte{0};
  scale[2] = std::byte{0x80};
  scale[3] = std::byte{0x7F};  // infinity
  EXPECT_NE(minifloat_part({spec, 1, 4, codes, {DType::f32, Shape{1, 1}, scale}}).error().text().find("not finite"),
            std::string::npos);
}

}  // namespace
}  // namespace vernier
