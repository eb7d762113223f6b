#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "containers/compressed_tensors/words.h"
#include "containers/transposed/transposed.h"
#include "formats/int/grid.h"
#include "formats/packing.h"
#include "tensor/convert.h"

namespace vernier::transposed {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::int64_t kWordBits = 32, kWordBytes = 4;

std::int64_t groups_of(const WeightPlan& weight) {
  return weight.grid->group > 0 ? weight.shape[1] / weight.grid->group : 1;
}

Error refuse(const std::string& container, const WeightPlan& weight, const std::string& reason) {
  return with_hint(fail(ErrorCode::unsupported, "container {} cannot hold {} as {}: {}", container, weight.name,
                        weight.grid->text(), reason),
                   "--container vernier holds anything");
}

std::uint32_t nibble_word(const std::uint8_t* codes) {
  std::uint32_t word = 0;
  for (int k = 0; k < 8; ++k) word |= static_cast<std::uint32_t>(codes[kNibble[k]]) << 4 * k;
  return word;
}

// Rows of `cols` codes into rows of I32 words.
void pack_word_rows(std::span<const std::uint8_t> codes, std::int64_t cols, int bits, Words words,
                    std::span<std::byte> out) {
  if (words == Words::strings) return pack_rows(codes, cols, bits, packed_bytes(cols, bits, kWordBytes), out);
  for (std::size_t i = 0; i + 8 <= codes.size(); i += 8) {
    const std::uint32_t word = nibble_word(codes.data() + i);
    std::memcpy(out.data() + i / 8 * kWordBytes, &word, kWordBytes);
  }
}

// [rows, cols] to [cols, rows].
template <class T>
std::vector<T> transpose(std::span<const T> values, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kTile = 64;  // both sides of a tile stay in the first-level cache
  std::vector<T> out(values.size());
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (std::int64_t c0 = 0; c0 < cols; c0 += kTile)
      for (std::int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (std::int64_t c = c0; c < std::min(cols, c0 + kTile); ++c) out[c * rows + r] = values[r * cols + c];
  return out;
}

}  // namespace

Status accepts(const std::string& container, const WeightPlan& weight, Words words) {
  const GridSpec& grid = *weight.grid;
  if (weight.shape.rank() != 2 || !weight.name.ends_with(kWeight))
    return refuse(container, weight,
                  fmt::format("shape {}; only weights of linear modules can be quantized", weight.shape.text()));
  if (weight.activation) return refuse(container, weight, "quantized inputs are not stored");
  if (grid.format != "int") return refuse(container, weight, "only the format int is stored");
  if (grid.scale_dtype != DType::f16)
    return with_hint(refuse(container, weight, fmt::format("scales are F16, not {}", name(grid.scale_dtype))),
                     "--set weights.scale_dtype=f16");
  if (grid.group == -1) return refuse(container, weight, "scales are per group or per row, not per tensor");
  if (grid.group > 0 && weight.shape[1] % grid.group != 0)
    return refuse(container, weight, fmt::format("{} columns are not a multiple of the group", weight.shape[1]));
  const std::int64_t rows_unit = words == Words::nibbles ? 8 : kWordBits;
  if (weight.shape[0] * (words == Words::nibbles ? 1 : grid.bits) % rows_unit != 0 ||
      (words == Words::strings && weight.shape[1] * grid.bits % kWordBits != 0))
    return refuse(container, weight, fmt::format("shape {} does not fill 32-bit words", weight.shape.text()));
  return {};
}

Result<GridSpec> one_grid(const std::string& container, const OutputPlan& plan) {
  const WeightPlan* first = nullptr;
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    if (!first) first = &weight;
    if (*weight.grid != *first->grid)
      return refuse(container, weight,
                    fmt::format("all weights have one grid, and {} has {}", first->name, first->grid->text()));
  }
  if (!first)
    return with_hint(fail(ErrorCode::unsupported, "container {}: no weight of the plan is quantized", container),
                     "--container safetensors holds float models");
  return *first->grid;
}

std::vector<TensorEntry> layout(const WeightPlan& weight, Words words) {
  if (!weight.grid) return {{weight.name, weight.dtype, weight.shape}};
  const std::string module = weight.name.substr(0, weight.name.size() - kWeight.size());
  const std::int64_t out = weight.shape[0], in = weight.shape[1], groups = groups_of(weight), bits = weight.grid->bits;
  const bool strings = words == Words::strings;
  std::vector<TensorEntry> entries;
  entries.push_back(
      {module + ".qweight", DType::i32, strings ? Shape{in * bits / kWordBits, out} : Shape{in, out / 8}});
  entries.push_back({module + ".qzeros", DType::i32, Shape{groups, out * bits / kWordBits}});
  entries.push_back({module + ".scales", DType::f16, Shape{groups, out}});
  if (strings) entries.push_back({module + ".g_idx", DType::i32, Shape{in}});
  return entries;
}

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part, Words words, bool zeros_less_one) {
  if (Shape{part.rows, part.cols} != plan.shape || part.grid->spec() != *plan.grid)
    return fail(ErrorCode::mismatch, "{}: planned as {} {}, solved as {} [{}, {}]", plan.name, plan.shape.text(),
                plan.grid->text(), part.grid->spec().text(), part.rows, part.cols);
  const int bits = plan.grid->bits;
  const std::int64_t groups = groups_of(plan);
  std::vector<Tensor> tensors;
  for (const TensorEntry& entry : layout(plan, words)) tensors.emplace_back(entry.dtype, entry.shape);

  const std::vector<std::uint8_t> codes = transpose<std::uint8_t>(part.codes, part.rows, part.cols);
  if (words == Words::strings)
    compressed_tensors::pack_columns(codes, part.cols, part.rows, bits, tensors[0].bytes());
  else
    pack_word_rows(codes, part.rows, bits, words, tensors[0].bytes());

  std::vector<std::uint8_t> zeros(groups * part.rows);
  std::vector<float> scales(groups * part.rows);
  for (std::int64_t r = 0; r < part.rows; ++r) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> params = part.params_of(r, g);
      scales[g * part.rows + r] = params[int_scale];
      const int stored = static_cast<int>(params[int_zero]) - (zeros_less_one ? 1 : 0);
      zeros[g * part.rows + r] = static_cast<std::uint8_t>(stored & ((1 << bits) - 1));
    }
  }
  pack_word_rows(zeros, part.rows, bits, words, tensors[1].bytes());
  from_float(scales, DType::f16, tensors[2].bytes());
  if (words == Words::strings) {
    const std::span<std::int32_t> order = tensors[3].as<std::int32_t>();
    const std::int64_t group = plan.grid->group > 0 ? plan.grid->group : part.cols;
    for (std::int64_t c = 0; c < part.cols; ++c)
      order[c] = part.group_of_column.empty() ? static_cast<std::int32_t>(c / group) : part.group_of_column[c];
  }
  return tensors;
}

}  // namespace vernier::transposed
