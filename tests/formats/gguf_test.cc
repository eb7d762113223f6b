// Block types of GGUF against values decoded by an independent reader (tests/golden/make_gguf.py), and their encoders.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/json.h"
#include "base/random.h"
#include "formats/gguf/grid.h"
#include "formats/range.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

constexpr std::string_view kNames[] = {"q4_0", "q4_1", "q5_0",   "q5_1",   "q8_0",  "q2_k",  "q3_k", "q4_k",
                                       "q5_k", "q6_k", "iq4_nl", "iq4_xs", "tq1_0", "tq2_0", "mxfp4"};

std::vector<std::byte> from_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

Json golden() {
  const std::string path = testing::source_dir() + "/tests/golden/gguf/blocks.json";
  return parse_json(read_text_file(path).value(), path).value();
}

std::vector<float> random_values(std::int64_t count, std::uint64_t seed) {
  const Random random(seed);
  std::vector<float> values(count);
  for (std::int64_t i = 0; i < count; ++i) values[i] = 0.05f * random.normal(i);
  return values;
}

std::vector<float> squares(std::vector<float> values) {
  for (float& v : values) v *= v;
  return values;
}

// Rounds a row by the search of the grid; gives the decoded row.
std::vector<float> round_row(const GridSpec& spec, std::string_view range, std::span<const float> row) {
  const auto grid = make_grid(spec).value();
  const auto cols = static_cast<std::int64_t>(row.size());
  std::vector<float> params(grid->groups(cols) * grid->params_per_group()), decoded(row.size());
  std::vector<std::uint8_t> codes(row.size());
  fit_row(*grid, *make_range({.method = std::string(range)}).value(), row, {}, params);
  for (std::int64_t g = 0; g < grid->groups(cols); ++g) {
    const std::size_t first = g * spec.group, width = std::min<std::size_t>(spec.group, row.size() - first);
    grid->encode(row.subspan(first, width), std::span(params).subspan(g * block_params, block_params),
                 {codes.data() + first, width}, {decoded.data() + first, width});
  }
  return decoded;
}

double error_of(std::span<const float> a, std::span<const float> b) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += std::pow(double{a[i]} - b[i], 2);
    norm += double{a[i]} * a[i];
  }
  return error / norm;
}

TEST(GgufBlocks, DecodeToTheValuesOfAnIndependentReader) {
  const Json cases = golden();
  for (const std::string_view name : kNames) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(cases.contains(name));
    const auto blocks = from_hex(cases[name]["blocks"]), wanted = from_hex(cases[name]["values"]);
    const BlockType& type = *find_block_type(name);
    const auto cols = static_cast<std::int64_t>(wanted.size() / sizeof(float));
    auto matrix = block_matrix(type, 1, cols, blocks, nullptr);
    VN_ASSERT_OK(matrix);
    std::vector<float> values(cols), expected(cols);
    std::memcpy(expected.data(), wanted.data(), wanted.size());
    (*matrix)->decode_rows(0, 1, values.data());
    for (std::int64_t i = 0; i < cols; ++i) ASSERT_EQ(values[i], expected[i]) << "value " << i;
  }
}

// Bytes of a file come back from their logical form, so that a weight can move between containers.
TEST(GgufBlocks, PackToTheSameBytes) {
  const Json cases = golden();
  for (const std::string_view name : kNames) {
    SCOPED_TRACE(name);
    if (name == "tq2_0") continue;  // random crumbs hold a code that is none
    const auto blocks = from_hex(cases[name]["blocks"]);
    const BlockType& type = *find_block_type(name);
    const std::int64_t rows = 1, cols = static_cast<std::int64_t>(blocks.size()) / type.bytes() * type.block();
    const FormatDescriptor* format = find_format(name).value();
    const TensorView view{DType::u8, {rows, static_cast<std::int64_t>(blocks.size())}, blocks};
    auto part = format->unpack(type.spec(), rows, cols, {&view, 1});
    VN_ASSERT_OK(part);
    const std::vector<Tensor> again = format->pack(*part);
    EXPECT_TRUE(std::equal(blocks.begin(), blocks.end(), again[0].bytes().begin(), again[0].bytes().end()));
  }
}

TEST(GgufBlocks, TruncatedOrHostileBytesAreRefused) {
  for (const std::string_view name : kNames) {
    SCOPED_TRACE(name);
    const BlockType& type = *find_block_type(name);
    std::vector<std::byte> bytes(2 * type.bytes());
    EXPECT_TRUE(block_matrix(type, 2, type.block(), bytes, nullptr).ok());
    EXPECT_FALSE(block_matrix(type, 2, type.block(), std::span(bytes).first(bytes.size() - 1), nullptr).ok());
    EXPECT_FALSE(block_matrix(type, 3, type.block(), bytes, nullptr).ok());
    EXPECT_FALSE(block_matrix(type, 0, type.block(), bytes, nullptr).ok());
    EXPECT_FALSE(block_matrix(type, std::int64_t{1} << 62, type.block(), bytes, nullptr).ok());
    std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});  // every half is a NaN
    if (type.exponent) continue;
    const TensorView view{DType::u8, {2, type.bytes()}, bytes};
    const auto part = find_format(name).value()->unpack(type.spec(), 2, type.block(), {&view, 1});
    ASSERT_FALSE(part.ok());
    EXPECT_NE(part.error().message.find("row 0"), std::string::npos) << part.error().text();
  }
}

TEST(GgufBlocks, SpecsSayNothingThatTheNameDoesNot) {
  for (const std::string_view name : kNames) {
    const GridSpec spec = find_block_type(name)->spec();
    VN_EXPECT_OK(make_grid(spec));
    EXPECT_EQ(spec.text(), name);
    GridSpec other = spec;
    other.group *= 2;
    EXPECT_FALSE(make_grid(other).ok());
  }
}

// The search is never much worse than the plain range, and better where there is room. Bounds: the relative error of
// normal values at that many bits.
TEST(GgufBlocks, SearchBeatsThePlainRange) {
  const auto row = random_values(4096, 3);
  const std::pair<std::string_view, double> most[] = {
      {"q4_0", 0.0085},  {"q4_1", 0.0075},   {"q5_0", 0.0021}, {"q5_1", 0.0018}, {"q8_0", 4e-5},
      {"q2_k", 0.10},    {"q3_k", 0.030},    {"q4_k", 0.0075}, {"q5_k", 0.0019}, {"q6_k", 5e-4},
      {"iq4_nl", 0.007}, {"iq4_xs", 0.0072}, {"mxfp4", 0.016}, {"tq1_0", 0.21},  {"tq2_0", 0.21}};
  for (const auto& [name, bound] : most) {
    SCOPED_TRACE(name);
    const GridSpec spec = find_block_type(name)->spec();
    const double searched = error_of(row, round_row(spec, "search", row));
    EXPECT_LE(searched, 1.001 * error_of(row, round_row(spec, "minmax", row)));
    EXPECT_LE(searched, bound);
  }
}

TEST(GgufBlocks, SearchSurvivesAnyRow) {
  std::vector<float> row(512, 0.0f);
  for (const std::string_view name : kNames) {
    SCOPED_TRACE(name);
    const GridSpec spec = find_block_type(name)->spec();
    for (float scale : {0.0f, 1e-42f, 1e-12f, 1.0f, 1e30f, 3e38f}) {
      for (std::size_t i = 0; i < row.size(); ++i)
        row[i] = i < 256 ? scale * static_cast<float>(static_cast<int>(i * 7 % 31) - 15) / 15 : 0.0f;
      for (float v : round_row(spec, "search", row)) ASSERT_TRUE(std::isfinite(v)) << scale;
      if (!find_block_type(name)->exact_zero()) continue;
      const auto rounded = round_row(spec, "search", row);
      EXPECT_TRUE(std::all_of(rounded.begin() + 256, rounded.end(), [](float v) { return v == 0; })) << scale;
    }
  }
}

// Importance moves the error to where it matters less.
TEST(GgufBlocks, ImportanceIsHeeded) {
  const auto row = random_values(32, 9);
  std::vector<float> importance(32, 1e-3f);
  for (int i = 0; i < 4; ++i) importance[i] = 1;
  for (const std::string_view name : {"q4_0", "q4_1", "q4_k", "q3_k", "iq4_nl"}) {
    SCOPED_TRACE(name);
    const BlockType& type = *find_block_type(name);
    const auto error = [&](std::span<const float> weights) {
      const auto [step, offset] = search_step(SearchType(type), std::span(row).first(type.group), weights);
      double sum = 0;
      for (std::int64_t i = 0; i < type.group; ++i) {
        const float level = type.table ? type.level(nearest_code(type, (row[i] + offset) / step))
                                       : std::clamp(std::rint((row[i] + offset) / step), -1.0f * type.zero,
                                                    static_cast<float>(type.levels - 1 - type.zero));
        sum += importance[i] * std::pow(double{row[i]} - (step * level - offset), 2);
      }
      return sum;
    };
    EXPECT_LT(error(std::span(importance).first(type.group)), error({}));
  }
}

// Lanes do not see each other: a row's blocks come out as they would alone.
TEST(GgufBlocks, SearchDoesNotDependOnTheRestOfTheRow) {
  const auto row = random_values(256 * 5, 21), importance = squares(random_values(256 * 5, 22));
  const auto range = make_range({.method = "search"}).value();
  for (const std::string_view name : kNames) {
    SCOPED_TRACE(name);
    const auto grid = make_grid(find_block_type(name)->spec()).value();
    const bool by_row = name == "q4_0" || name == "q4_1" || name == "q5_0" || name == "q5_1";  // their mean square is
    for (const bool weighted : {false, true}) {
      if (weighted && by_row) continue;
      const std::span<const float> weights = weighted ? std::span<const float>(importance) : std::span<const float>{};
      std::vector<float> whole(grid->groups(256 * 5) * block_params), alone(grid->groups(256) * block_params);
      fit_row(*grid, *range, row, weights, whole);
      for (int b = 0; b < 5; ++b) {
        fit_row(*grid, *range, std::span(row).subspan(256 * b, 256), weighted ? weights.subspan(256 * b, 256) : weights,
                alone);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), whole.begin() + b * static_cast<int>(alone.size())));
      }
    }
  }
}

// Scales that are settled together with the codes lose less than scales that are found alone and rounded afterwards.
TEST(GgufBlocks, SettlingTogetherLosesLess) {
  const auto row = random_values(256 * 16, 5), importance = squares(random_values(256 * 16, 6));
  const auto range = make_range({.method = "search"}).value();
  for (const std::string_view name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs"}) {
    SCOPED_TRACE(name);
    const BlockType& type = *find_block_type(name);
    const auto grid = make_grid(type.spec()).value();
    const std::int64_t groups = grid->groups(256 * 16);
    const auto error = [&](std::span<const float> params) {
      std::vector<std::uint8_t> codes(type.group);
      std::vector<float> decoded(type.group);
      double sum = 0;
      for (std::int64_t g = 0; g < groups; ++g) {
        const auto values = std::span(row).subspan(g * type.group, type.group);
        grid->encode(values, params.subspan(g * block_params, block_params), codes, decoded);
        for (std::int64_t i = 0; i < type.group; ++i)
          sum += importance[g * type.group + i] * std::pow(double{values[i]} - decoded[i], 2);
      }
      return sum;
    };
    std::vector<float> together(groups * block_params), apart(groups * block_params);
    fit_row(*grid, *range, row, importance, together);
    for (std::int64_t g = 0; g < groups; ++g)
      range->fit(*grid, std::span(row).subspan(g * type.group, type.group),
                 std::span(importance).subspan(g * type.group, type.group),
                 std::span(apart).subspan(g * block_params, block_params));
    grid->settle_row(apart);
    EXPECT_LT(error(together), error(apart));
  }
}

// Tensors of a super-block share d and dmin; a row that comes from a file stays as it is.
TEST(GgufBlocks, SettledRowsOfFilesStay) {
  const Json cases = golden();
  for (const std::string_view name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs"}) {
    SCOPED_TRACE(name);
    const auto blocks = from_hex(cases[name]["blocks"]);
    const BlockType& type = *find_block_type(name);
    const TensorView view{DType::u8, {1, static_cast<std::int64_t>(blocks.size())}, blocks};
    const auto cols = static_cast<std::int64_t>(blocks.size()) / type.bytes() * type.block();
    const GridPart part = find_format(name).value()->unpack(type.spec(), 1, cols, {&view, 1}).value();
    std::vector<float> params = part.params;
    part.grid->settle_row(params);
    EXPECT_EQ(params, part.params);
  }
}

}  // namespace
}  // namespace vernier
