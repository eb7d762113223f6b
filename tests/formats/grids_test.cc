// What being registered earns a format: round trips, sizes, and a codec whose ways in agree.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "formats/range.h"
#include "support/support.h"
#include "tensor/convert.h"
#include "vernier/format.h"

namespace vernier {
namespace {

// Every spec of every format that its make() accepts, over a spread of options.
std::vector<GridSpec> specs() {
  std::vector<GridSpec> all;
  for (const FormatDescriptor* format : formats())
    for (int bits = 1; bits <= 8; ++bits)
      for (bool symmetric : {true, false})
        for (std::int64_t group : {-1, 0, 16, 32, 50, 128, 256})
          for (DType scale : {DType::f16, DType::bf16, DType::f32}) {
            for (std::int64_t group_rows : {1, 2}) {
              GridSpec spec{std::string(format->name), bits, symmetric, group, scale, group_rows};
              if (format->make(spec).ok()) all.push_back(spec);
            }
          }
  return all;
}

std::vector<float> random_weights(std::int64_t count, std::uint64_t seed, float scale = 0.05f) {
  const Random random(seed);
  std::vector<float> w(count);
  for (std::int64_t i = 0; i < count; ++i) w[i] = scale * random.normal(i);
  return w;
}

// Round to nearest with min-max ranges, by the public interface alone.
GridPart quantize(std::shared_ptr<const Grid> grid, std::span<const float> w, std::int64_t rows, std::int64_t cols) {
  GridPart part{.grid = grid, .rows = rows, .cols = cols};
  const int count = grid->params_per_group();
  const std::int64_t group = grid->group_columns(cols), groups = grid->groups(cols);
  part.codes.resize(rows * cols);
  part.params.resize((grid->per_tensor() ? 1 : rows * groups) * count);
  fit_tensor(*grid, *make_range({}).value(), {w.data(), rows, cols}, part.params);
  std::vector<float> decoded(cols);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> values = w.subspan(r * cols + g * group, std::min(group, cols - g * group));
      grid->encode(values, part.params_of(r, g), {part.codes.data() + r * cols + g * group, values.size()},
                   {decoded.data(), values.size()});
    }
  return part;
}

std::vector<TensorView> views(const std::vector<Tensor>& tensors) {
  std::vector<TensorView> result;
  for (const Tensor& t : tensors) result.push_back(t.view());
  return result;
}

TEST(EveryFormat, PacksOpensAndUnpacksToTheSamePart) {
  for (const GridSpec& spec : specs())
    for (auto [rows, cols] : {std::pair<std::int64_t, std::int64_t>{5, 150}, {3, 1100}, {1, 1}})
      for (bool column_groups : {false, true}) {
        SCOPED_TRACE(spec.text() + (column_groups ? " column groups" : ""));
        const FormatDescriptor* format = find_format(spec.format).value();
        const auto w = random_weights(rows * cols, 11);
        GridPart part = quantize(make_grid(spec).value(), w, rows, cols);
        if (column_groups) {
          const Random random(3);
          for (std::int64_t c = 0; c < cols; ++c)
            part.group_of_column.push_back(static_cast<std::int32_t>(random.below(c, part.groups())));
        }
        const std::vector<Tensor> tensors = format->pack(part);
        const auto layout = format->layout(spec, rows, cols, column_groups);
        ASSERT_EQ(tensors.size(), layout.size());
        std::int64_t bytes = 0;
        for (std::size_t i = 0; i < layout.size(); ++i) {
          EXPECT_EQ(tensors[i].dtype(), layout[i].dtype);
          EXPECT_EQ(tensors[i].shape(), layout[i].shape);
          bytes += static_cast<std::int64_t>(tensors[i].bytes().size());
        }
        const double formula =
            part.grid->bits_per_weight(rows, cols) * rows * cols / 8 + (column_groups ? 4.0 * cols : 0.0);
        EXPECT_NEAR(static_cast<double>(bytes), formula, 1e-6);

        auto back = format->unpack(spec, rows, cols, views(tensors));
        VN_ASSERT_OK(back);
        EXPECT_EQ(back->codes, part.codes);
        EXPECT_EQ(back->params, part.params);
        EXPECT_EQ(back->group_of_column, part.group_of_column);

        auto matrix = format->open(spec, rows, cols, views(tensors));
        VN_ASSERT_OK(matrix);
        EXPECT_EQ((*matrix)->stored_bytes(), bytes);
        std::vector<float> logical(rows * cols), packed(rows * cols);
        part.decode_rows(0, rows, logical.data());
        (*matrix)->decode_rows(0, rows, packed.data());
        EXPECT_EQ(logical, packed);
        std::vector<float> last(cols);
        (*matrix)->decode_rows(rows - 1, 1, last.data());
        EXPECT_TRUE(std::equal(last.begin(), last.end(), packed.end() - cols));
      }
}

TEST(EveryFormat, KeepsARowThatIsSettledAlready) {
  for (const GridSpec& spec : specs()) {
    SCOPED_TRACE(spec.text());
    const GridPart part = quantize(make_grid(spec).value(), random_weights(4 * 300, 13), 4, 300);
    std::vector<float> again = part.params;
    const std::size_t row = again.size() / (part.grid->per_tensor() ? 1 : 4);
    for (std::size_t first = 0; first < again.size(); first += row)
      part.grid->settle_row(std::span(again).subspan(first, row));
    const std::size_t joint = part.grid->joint_rows() > 0 ? static_cast<std::size_t>(part.grid->joint_rows()) : 4;
    for (std::size_t r = 0; r < 4 && joint != 1; r += joint)
      part.grid->settle_rows(static_cast<std::int64_t>(joint), std::span(again).subspan(r * row, joint * row));
    for (std::size_t i = 0; i < again.size(); ++i) EXPECT_FLOAT_EQ(again[i], part.params[i]);
  }
}

TEST(EveryFormat, EncodesColumnsAndGroupsAlike) {
  for (const GridSpec& spec : specs()) {
    SCOPED_TRACE(spec.text());
    const auto grid = make_grid(spec).value();
    const int count = grid->params_per_group();
    const std::int64_t rows = 77;
    const auto w = random_weights(rows, 5);
    std::vector<std::vector<float>> params(count, std::vector<float>(rows));
    std::vector<const float*> pointers;
    for (auto& p : params) pointers.push_back(p.data());
    std::vector<std::uint8_t> codes(rows), one(1);
    std::vector<float> decoded(rows), value(1), group(count);
    for (std::int64_t r = 0; r < rows; ++r) {
      grid->params_from_range(-0.01f * static_cast<float>(r % 7), 0.02f * static_cast<float>(r % 5), group);
      for (int p = 0; p < count; ++p) params[p][r] = group[p];
    }
    grid->encode_column(rows, w.data(), pointers.data(), codes.data(), decoded.data());
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int p = 0; p < count; ++p) group[p] = params[p][r];
      grid->encode({&w[r], 1}, group, one, value);
      EXPECT_EQ(one[0], codes[r]);
      EXPECT_EQ(value[0], decoded[r]);
      float again = 0;
      grid->decode(one, group, {&again, 1});
      EXPECT_EQ(again, value[0]);
    }
  }
}

TEST(EveryFormat, DecodesZeroToExactlyZeroAndSurvivesExtremeRanges) {
  for (const GridSpec& spec : specs()) {
    SCOPED_TRACE(spec.text());
    const auto grid = make_grid(spec).value();
    std::vector<float> params(grid->params_per_group());
    const std::pair<float, float> ranges[] = {{0, 0},         {0, 1e-30f},  {-1e-42f, 0},   {-3e38f, 3e38f},
                                              {-1e6f, 1e-6f}, {0, 3.4e38f}, {-0.25f, 0.5f}, {-1e-9f, 1e-9f}};
    for (auto [low, high] : ranges) {
      grid->params_from_range(low, high, params);
      grid->settle_row(params);
      for (float p : params) EXPECT_TRUE(std::isfinite(p)) << low << " " << high;
      EXPECT_NE(params[0], 0.0f);
      EXPECT_EQ(params[0], round_to(spec.scale_dtype, params[0])) << "rounded to its stored type";
      const float values[] = {0.0f, low, high};
      std::uint8_t codes[3];
      float decoded[3];
      grid->encode(values, params, codes, decoded);
      if (grid->exact_zero()) {
        EXPECT_EQ(decoded[0], 0.0f);
      }
      for (float d : decoded) EXPECT_TRUE(std::isfinite(d));
    }
  }
}

TEST(Formats, UnknownNamesAreRefusedWithTheKnownOnes) {
  auto missing = find_format("nosuch");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().text().find("int"), std::string::npos);
  GridSpec spec;
  spec.format = "nosuch";
  EXPECT_FALSE(make_grid(spec).ok());
}

}  // namespace
}  // namespace vernier
