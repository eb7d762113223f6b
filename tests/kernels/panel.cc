// Products on packed panels: the same bits from every instruction set, at the extreme codes, at every tail; and close
// to the float product.
#include "kernels/panel/panel.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "kernels/ops.h"
#include "kernels/panel_fixtures.h"
#include "kernels/reference.h"

namespace vernier::kernels {
namespace {

using testing::every_spec;
using testing::extreme;
using testing::make;
using testing::normal;
using testing::Owned;
using testing::Packed;
using testing::text;
using testing::Values;

Owned product(const Packed& w, const Owned& x, std::span<const float> bias = {}) {
  QuantizedRows rows;
  quantize_rows(x.matrix(), rows_format(*w.matrix), rows);
  Owned y(x.rows, w.spec.rows);
  std::fill(y.data.begin(), y.data.end(), std::nanf(""));
  panel_linear(rows, *w.matrix, bias, y.matrix());
  return y;
}

// Runs `body` under every instruction set this CPU has, and goes back to the best.
template <class Body>
void for_every_isa(Body body) {
  const std::string best(name(best_isa()));
  for (const Isa isa : kEveryIsa) {
    if ((isa == Isa::amx && best != name(isa)) || !force_isa(name(isa))) continue;
    SCOPED_TRACE(name(isa));
    body();
  }
  ASSERT_TRUE(force_isa(best));
}

// Every path gives the bits of the scalar one.
void expect_same_bits(const Packed& w, const Owned& x, std::span<const float> bias = {}) {
  SCOPED_TRACE(text(w.spec, x.rows));
  std::optional<Owned> wanted;
  for_every_isa([&] {
    const Owned found = product(w, x, bias);
    if (!wanted) wanted = found;
    EXPECT_TRUE(testing::same_bits(found, *wanted));
  });
}

TEST(Panel, SameBitsFromEveryInstructionSet) {
  for (std::int64_t tokens : {1, 2, 3, 5, 8, 9, 13, 21, 40}) {
    for (const PanelSpec& spec : every_spec(53, 200, 64))
      expect_same_bits(make(spec, Values::random), normal(tokens, 200, 3));
  }
}

TEST(Panel, SameBitsAtEveryTail) {
  std::uint64_t seed = 0;
  struct Shape {
    std::int64_t rows, cols, group;
  };
  for (const Shape& s : {Shape{1, 1, 32}, {16, 32, 32}, {17, 33, 32}, {47, 257, 128}, {64, 1100, 256}, {33, 600, 96}}) {
    for (const PanelSpec& spec : every_spec(s.rows, s.cols, s.group)) {
      for (std::int64_t tokens : {1, 6, 18}) {
        const Owned x = normal(tokens, s.cols, ++seed), bias = normal(1, s.rows, ++seed);
        expect_same_bits(make(spec, Values::random, ++seed), x, bias.data);
      }
    }
  }
}

TEST(Panel, SameBitsForEveryNumberOfTokens) {
  const Packed dual = make({PanelKind::dual, 4, 40, 128, 32}, Values::random);
  const Packed group = make({PanelKind::group, 4, 40, 128, 32}, Values::random);
  for (std::int64_t tokens = 1; tokens <= 40; ++tokens) {
    expect_same_bits(dual, normal(tokens, 128, 5));
    expect_same_bits(group, normal(tokens, 128, 5));
  }
}

// Under VERNIER_ISA=amx, where the CPU has tiles; the other tests then try them, too.
TEST(PanelAmx, GivesTheScalarBitsFromTiles) {
  if (best_isa() != Isa::amx) GTEST_SKIP() << "wants VERNIER_ISA=amx, and a CPU and kernel with AMX tiles";
  for (std::int64_t tokens : {17, 32, 48, 290}) {
    for (const PanelSpec& spec : every_spec(90, 2080, 160))
      expect_same_bits(make(spec, Values::random), normal(tokens, 2080, 3));
    for (const PanelSpec& spec : every_spec(32, 512, 128))
      expect_same_bits(make(spec, Values::largest), extreme(tokens, 512, false));
  }
}

TEST(Panel, SameBitsBeyondOnePieceOfTokens) {
  const Packed w = make({PanelKind::dual, 4, 48, 64, 64}, Values::random);
  expect_same_bits(w, normal(530, 64, 5));
}

// Sums that would saturate 16 bits or overflow a byte anywhere come out exact: against integers, not another kernel.
TEST(Panel, IsExactAtTheExtremeCodes) {
  constexpr std::int64_t cols = 8192;
  for (const PanelSpec& spec : every_spec(16, cols, 128)) {
    const Packed w = make(spec, Values::largest);
    const int top = (1 << spec.bits) - 1, fine = spec.kind == PanelKind::dual ? max_fine_scale(spec.bits) : 1;
    if (spec.kind == PanelKind::group) continue;  // rounds at each group: SameBitsAtTheExtremeCodes
    for_every_isa([&] {
      for (std::int64_t tokens : {1, 4, 7, 12, 17}) {
        const Owned y = product(w, extreme(tokens, cols, false));
        const float sum = static_cast<float>(cols * fine * top * 127);
        for (std::int64_t r = 0; r < 16; ++r)
          ASSERT_EQ(y(tokens - 1, r), sum * w.scales[r] * (1.0f / 127)) << text(spec, tokens);
      }
    });
  }
}

TEST(Panel, SameBitsAtTheExtremeCodes) {
  for (const PanelSpec& spec : every_spec(32, 1024, 256)) {
    for (Values values : {Values::random, Values::largest}) {
      const Packed w = make(spec, values);
      for (bool alternating : {false, true}) {
        for (std::int64_t tokens : {1, 4, 20}) expect_same_bits(w, extreme(tokens, 1024, alternating));
      }
    }
  }
}

TEST(Panel, IsTheFloatProductOfTheDecodedOperands) {
  for (const PanelSpec& spec : every_spec(37, 300, 64)) {
    const Packed w = make(spec, Values::random, 7);
    for (std::int64_t tokens : {1, 5, 30}) {
      // Whole numbers up to 127, one of them reached in every group: they are their own codes.
      Owned x(tokens, 300);
      const Random random(tokens);
      for (std::size_t i = 0; i < x.data.size(); ++i)
        x.data[i] = i % 20 == 0 ? 127.0f : static_cast<float>(random.below(i, 255)) - 127;
      Owned wanted(tokens, spec.rows);
      const Owned bias = normal(1, spec.rows, 9);
      reference::linear(x.matrix(), *w.matrix, bias.data, wanted.matrix());
      SCOPED_TRACE(text(spec, tokens));
      testing::expect_near(product(w, x, bias.data), wanted, 1e-4);  // terms reach 100 and cancel
    }
  }
}

TEST(Panel, LinearMultipliesPanelsInFloat) {
  const Packed w = make({PanelKind::group, 4, 70, 256, 128}, Values::random);
  const Owned x = normal(11, 256, 4);
  Owned found(11, 70), wanted(11, 70);
  linear(x.matrix(), *w.matrix, {}, found.matrix());
  reference::linear(x.matrix(), *w.matrix, {}, wanted.matrix());
  testing::expect_near(found, wanted, 2e-5);
  EXPECT_FALSE(testing::same_bits(found, product(w, x)));
}

// Every byte that products read can be read, at any tail.
TEST(Panel, CanBeTouched) {
  for (const PanelSpec& spec : every_spec(70, 256, 128)) make(spec, Values::random).matrix->touch();
}

TEST(Panel, SameBitsAtAnyThreadCount) {
  for (const PanelSpec& spec : every_spec(700, 512, 128)) {
    const Packed w = make(spec, Values::random);
    for (std::int64_t tokens : {1, 5, 300}) {
      const Owned x = normal(tokens, 512, 2);
      testing::expect_same_at_any_thread_count([&] { return product(w, x); });
    }
  }
}

TEST(Panel, DecodesWhatWasPacked) {
  for (const PanelSpec& spec : every_spec(35, 150, 64)) {
    const Packed w = make(spec, Values::random, 3);
    std::vector<float> rows(spec.rows * spec.cols);
    w.matrix->decode_rows(0, 20, rows.data());
    w.matrix->decode_rows(20, 15, rows.data() + 20 * spec.cols);
    for (std::int64_t r = 0; r < spec.rows; ++r) {
      for (std::int64_t c = 0; c < spec.cols; ++c) {
        const std::int64_t group = spec.kind == PanelKind::plain ? 0 : c / spec.group, g = r * spec.groups() + group;
        const int fine = spec.kind == PanelKind::dual ? w.fine[g] : 1;
        const float scale = w.scales[spec.kind == PanelKind::group ? g : r];
        ASSERT_EQ(rows[r * spec.cols + c],
                  scale * static_cast<float>(fine * (w.codes[r * spec.cols + c] - w.zeros[g])));
      }
    }
  }
}

TEST(Panel, GivesBackWhatWasPacked) {
  for (const PanelSpec& spec : every_spec(37, 200, 64)) {
    const Packed w = make(spec, Values::random);
    const PanelContents found = unpack_panels(*w.matrix);
    SCOPED_TRACE(text(spec, 0));
    EXPECT_EQ(found.codes, w.codes);
    EXPECT_EQ(found.scales, w.scales);
    EXPECT_EQ(found.fine, w.fine);
    EXPECT_EQ(found.zeros, w.zeros);
  }
}

TEST(Panel, BytesFollowTheDescription) {
  // 3 panels of 192 columns: codes, scales, integers, each at a multiple of 64.
  EXPECT_EQ(panel_bytes({PanelKind::dual, 4, 40, 130, 64}), 3 * 16 * 96 + 3 * 64 + round_up(3 * 3 * 16, 64));
  EXPECT_EQ(panel_bytes({PanelKind::dual, 3, 40, 130, 64}), 3 * 16 * 72 + 3 * 64 + round_up(3 * 3 * 32, 64));
  EXPECT_EQ(panel_bytes({PanelKind::group, 2, 40, 130, 64}), 3 * 16 * 48 + 3 * 3 * 64 + round_up(3 * 3 * 16, 64));
  EXPECT_EQ(panel_bytes({PanelKind::plain, 8, 40, 130}), 3 * 16 * 160 + 3 * 64 + round_up(3 * 16, 64));
  EXPECT_NEAR(panel_bits_per_weight({PanelKind::dual, 4, 2048, 2048, 128}), 4 + 8.0 / 128 + 32.0 / 2048, 1e-9);
  // The layout is a file format: these bytes may change only with kPanelLayoutVersion.
  const Packed w = make({PanelKind::dual, 4, 16, 32, 32}, Values::random);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(w.bytes.bytes().data());
  EXPECT_EQ(bytes[4 * 5 + 2], w.codes[5 * 32 + 2] | w.codes[5 * 32 + 6] << 4);
  EXPECT_EQ(bytes[64 + 4 * 5 + 2], w.codes[5 * 32 + 10] | w.codes[5 * 32 + 14] << 4);
  EXPECT_EQ(bytes[4 * 64 + 64 + 5], w.fine[5] | w.zeros[5] << 4);
  EXPECT_EQ(kPanelLayoutVersion, 1);
}

TEST(Panel, NamesItsFormat) {
  EXPECT_EQ(make({PanelKind::dual, 3, 4, 32, 32}, Values::random).matrix->format_text(), "dual int3 g32");
  EXPECT_EQ(make({PanelKind::plain, 8, 4, 32}, Values::random).matrix->format_text(), "plain int8");
}

void expect_refused(const Status& status, std::string_view part) {
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().text().find(part), std::string::npos) << status.error().text();
}

TEST(PanelPack, RefusesWhatWouldOverflow) {
  for (int bits : {4, 3, 2}) {
    Packed w = make({PanelKind::dual, bits, 20, 64, 32}, Values::largest);
    w.fine[7] = max_fine_scale(bits) + 1;
    expect_refused(w.pack(), "fine scales must be from 0 to " + std::to_string(max_fine_scale(bits)));
    w.fine[7] = 1;
    w.zeros[3] = 1 << bits;
    expect_refused(w.pack(), "zeros must be from 0 to");
    w.zeros[3] = 0;
    w.codes[100] = 1 << bits;
    expect_refused(w.pack(), "at 100");
  }
}

TEST(PanelPack, RefusesWrongSizesAndInfiniteScales) {
  Packed w = make({PanelKind::group, 4, 20, 64, 32}, Values::random);
  w.scales[5] = INFINITY;
  expect_refused(w.pack(), "scale 5 is not finite");
  w.scales.pop_back();
  expect_refused(w.pack(), "40 scales wanted, 39 found");
  Packed short_of_room = make({PanelKind::plain, 8, 20, 64}, Values::random);
  std::vector<std::byte> room(10);
  expect_refused(pack_panels(short_of_room.spec, short_of_room.source(), room), "bytes of room");
}

TEST(PanelOpen, RefusesImpossibleSpecs) {
  expect_refused(check({PanelKind::dual, 8, 16, 32, 32}), "bits must be 4, 3 or 2, found 8");
  expect_refused(check({PanelKind::group, 5, 16, 32, 32}), "bits");
  expect_refused(check({PanelKind::dual, 4, 0, 32, 32}), "rows");
  expect_refused(check({PanelKind::dual, 4, std::int64_t{1} << 40, 32, 32}), "rows");
  expect_refused(check({PanelKind::plain, 8, 16, 65537}), "columns");
  expect_refused(check({PanelKind::dual, 4, 16, 32, 0}), "group");
  expect_refused(check({PanelKind::dual, 4, 16, 32, 48}), "group");
  expect_refused(check({PanelKind::group, 4, 16, 512, 512}), "group");
}

TEST(PanelOpen, RefusesTruncatedMisalignedAndOverflowingBytes) {
  const auto open = [](const Packed& w, std::span<const std::byte> bytes) -> Status {
    auto result = PanelMatrix::open(w.spec, bytes, nullptr);
    if (result.ok()) return {};
    return std::move(result).take_error();
  };
  Packed w = make({PanelKind::dual, 2, 16, 64, 32}, Values::random);
  const auto bytes = w.bytes.bytes();
  expect_refused(open(w, bytes.first(bytes.size() - 1)), "bytes wanted");
  Tensor moved(DType::u8, {static_cast<std::int64_t>(bytes.size()) + 64});
  expect_refused(open(w, moved.bytes().subspan(1, bytes.size())), "multiple of 64");
  const PanelSections s = sections(w.spec);
  bytes[s.integers_offset + 3] = std::byte{86};
  expect_refused(open(w, bytes), "fine scale 86 of 2-bit codes overflows, at most 85");
  bytes[s.integers_offset + 3] = std::byte{85};
  EXPECT_TRUE(open(w, bytes).ok());
  const float infinite = INFINITY;
  std::memcpy(bytes.data() + s.scales_offset + 8, &infinite, 4);
  expect_refused(open(w, bytes), "scale 2 is not finite");
}

TEST(QuantizedRows, RoundsAsTheSimulatedQuantizer) {
  for (std::int64_t tokens : {1, 3, 20}) {
    Owned x = normal(tokens, 130, 8, 3);
    for_every_isa([&] {
      QuantizedRows rows;
      quantize_rows(x.matrix(), {.group = 32}, rows);
      Owned wanted = x;
      fake_quantize(wanted.matrix(), {.bits = 8});
      const std::int64_t b = rows.block_tokens(), u = rows.unit_cols();
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::int32_t total = 0;
        for (std::int64_t k = 0; k < rows.padded_cols(); ++k) {
          const int code = rows.codes(t)[k / u * b * u + t % b * u + k % u];
          total += code;
          ASSERT_EQ(static_cast<float>(code) * rows.scales(t)[0], k < 130 ? wanted(t, k) : 0.0f);
        }
        ASSERT_EQ(rows.total(t), total);
      }
    });
  }
}

TEST(QuantizedRows, TakesStaticScalesZerosAndOddNumbers) {
  Owned x(2, 32);
  x.data[0] = 1000;
  x.data[1] = -1000;
  x.data[2] = 0.26f;
  x.data[3] = std::nanf("");
  QuantizedRows rows;
  quantize_rows(x.matrix().rows_slice(0, 1), {.group = 32, .static_scale = 0.5f}, rows);
  EXPECT_EQ(rows.codes(0)[0], 127);
  EXPECT_EQ(rows.codes(0)[1], -127);
  EXPECT_EQ(rows.codes(0)[2], 1);
  EXPECT_EQ(rows.codes(0)[3], -127);
  EXPECT_EQ(rows.scales(0)[0], 0.5f);
  quantize_rows(x.matrix().rows_slice(1, 1), {.group = 32}, rows);
  EXPECT_EQ(rows.scales(0)[0], 0);
  EXPECT_EQ(rows.total(0), 0);
}

}  // namespace
}  // namespace vernier::kernels
