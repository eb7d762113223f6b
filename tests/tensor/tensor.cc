#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "base/random.h"
#include "support/support.h"
#include "tensor/convert.h"
#include "tensor/mapped_file.h"
#include "tensor/spill.h"

namespace vernier {
namespace {

TEST(Convert, EveryHalfRoundTrips) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_float(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(value))));
    } else {
      EXPECT_EQ(float_to_f16(value), bits);
    }
    const float wide = bf16_to_float(static_cast<std::uint16_t>(bits));
    if (!std::isnan(wide)) {
      EXPECT_EQ(float_to_bf16(wide), bits);
    }
  }
}

TEST(Convert, RoundsToNearestTiesToEven) {
  EXPECT_EQ(f16_to_float(float_to_f16(1 + 0x1p-11f)), 1.0f);
  EXPECT_EQ(f16_to_float(float_to_f16(1 + 3 * 0x1p-11f)), 1 + 0x1p-9f);
  EXPECT_EQ(f16_to_float(float_to_f16(65519)), 65504.0f);
  EXPECT_TRUE(std::isinf(f16_to_float(float_to_f16(65520))));
  EXPECT_EQ(f16_to_float(float_to_f16(0x1p-25f)), 0.0f);
  EXPECT_EQ(f16_to_float(float_to_f16(1.5f * 0x1p-24f)), 0x1p-23f);
  EXPECT_EQ(bf16_to_float(float_to_bf16(1 + 0x1p-8f)), 1.0f);
  EXPECT_EQ(round_to(DType::bf16, 3.14159274f), 3.140625f);
}

TEST(Convert, VectorPathsEqualScalarOnesAtAnyAlignment) {
  const Random random(3);
  std::vector<std::byte> bytes(4 * 77 + 3);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(random.bits(i));
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (int shift = 0; shift < 3; ++shift) {
      const TensorView view{dtype, {70}, std::span(bytes).subspan(shift, 140)};
      std::vector<float> all(70), part(13);
      to_float(view, 0, all);
      to_float(view, 31, part);
      for (int i = 0; i < 70; ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, bytes.data() + shift + 2 * i, 2);
        const float wanted = dtype == DType::f16 ? f16_to_float(bits) : bf16_to_float(bits);
        if (std::isnan(wanted)) continue;
        EXPECT_EQ(all[i], wanted);
        if (i >= 31 && i < 44) {
          EXPECT_EQ(part[i - 31], wanted);
        }
      }
    }
  }
}

TEST(DTypes, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::u64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name(dtype)), dtype);
    EXPECT_GT(size_bytes(dtype), 0);
  }
  EXPECT_FALSE(dtype_from_name("F7").has_value());
}

TEST(MappedFile, ReleasesPagesAndReadsThemAgain) {
  testing::TempDir dir;
  std::ofstream(dir.path("f"), std::ios::binary) << std::string(100000, 'x');
  auto file = MappedFile::open(dir.path("f"));
  VN_ASSERT_OK(file);
  const auto bytes = (*file)->bytes();
  EXPECT_EQ(bytes[70000], std::byte{'x'});
  (*file)->release(bytes.subspan(10, 90000));
  EXPECT_EQ(bytes[70000], std::byte{'x'});
  EXPECT_EQ(MappedFile::open(dir.path("none")).error().code, ErrorCode::not_found);
  EXPECT_FALSE(MappedFile::open(dir.path()).ok());
}

TEST(Spill, RoundsOnTheWayInAndSurvivesReopening) {
  testing::TempDir dir;
  std::vector<float> values(6 * 5), back(6 * 5);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1.0f / static_cast<float>(i + 3);
  {
    auto spill = SpillFile::open(dir.path("s"), DType::bf16, 10, 5);
    VN_ASSERT_OK(spill);
    VN_ASSERT_OK((*spill)->write(4, {values.data(), 6, 5}));
    VN_ASSERT_OK((*spill)->sync());
  }
  auto spill = SpillFile::open(dir.path("s"), DType::bf16, 10, 5);
  VN_ASSERT_OK((*spill)->read(4, {back.data(), 6, 5}));
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back[i], round_to(DType::bf16, values[i]));
  EXPECT_FALSE((*spill)->read(5, {back.data(), 6, 5}).ok());
}

}  // namespace
}  // namespace vernier
