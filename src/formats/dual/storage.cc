// How dual-grained weights lie in tensors:
//   codes         U8  [rows, ceil(cols * bits / 8)]          dense, LSB first, every row starts on a byte
//   fine          U8  [rows, ceil(groups * fine bits / 8)]   4, 6 or 7 bits each at 4, 3 or 2 bits; packed like codes
//   zero          U8  [rows, ceil(groups * bits / 8)]        asymmetric only; packed like codes
//   coarse        F32 [rows]
//   column_group  I32 [cols]                                 only where columns are not grouped in order
#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "base/fail.h"
#include "formats/dual/grid.h"
#include "formats/packing.h"
#include "formats/soundness.h"
#include "formats/stored_tensors.h"

namespace vernier {
namespace {

constexpr std::int64_t chunk_columns = 1024;  // codes unpacked at a time, a multiple of 8; fits the L1 cache

std::int64_t group_count(const GridSpec& spec, std::int64_t cols) { return (cols + spec.group - 1) / spec.group; }

// Packed tensors that were checked, fine and coarse scales included; the bytes stay with the caller.
struct DualTensors {
  GridSpec spec;
  std::int64_t rows = 0, cols = 0, groups = 0;
  std::span<const std::byte> codes, fine, zero, coarse;
  std::vector<std::int32_t> column_group;

  static Result<DualTensors> make(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                  std::span<const TensorView> tensors);

  std::int64_t code_stride() const { return packed_bytes(cols, spec.bits); }
  std::span<const std::byte> code_row(std::int64_t row) const {
    return codes.subspan(row * code_stride(), code_stride());
  }
  float coarse_of(std::int64_t row) const;
  // Of one row's groups, [groups] each.
  void fine_and_zero(std::int64_t row, std::span<std::uint8_t> fines, std::span<std::uint8_t> zeros) const;
};

Result<DualTensors> DualTensors::make(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                      std::span<const TensorView> tensors) {
  VN_ASSIGN(auto grid, DualGrid::make(spec));  // refuses bad specs
  VN_TRY(check_stored_tensors(spec, rows, cols, tensors, dual_layout));
  DualTensors result{.spec = spec, .rows = rows, .cols = cols, .groups = group_count(spec, cols)};
  std::size_t next = 0;
  result.codes = tensors[next++].bytes;
  result.fine = tensors[next++].bytes;
  if (!spec.symmetric) result.zero = tensors[next++].bytes;
  result.coarse = tensors[next++].bytes;
  if (tensors.size() > next) {
    VN_ASSIGN(result.column_group, read_column_groups(spec, tensors[next], result.groups));
  }
  std::vector<std::uint8_t> fines(result.groups), zeros(result.groups);
  for (std::int64_t r = 0; r < rows; ++r) {
    if (const float c = result.coarse_of(r); !(c >= 0 && c <= dual_coarse_max))
      return fail(ErrorCode::invalid, "{} weight, tensor 'coarse': row {} is {}, wanted 0 to {:g}", spec.text(), r, c,
                  dual_coarse_max);
    result.fine_and_zero(r, fines, zeros);
    for (std::int64_t g = 0; g < result.groups; ++g)
      if (fines[g] < 1 || fines[g] > dual_fine_max(spec.bits))
        return fail(ErrorCode::invalid, "{} weight, tensor 'fine': row {}, group {} is {}, wanted 1 to {}", spec.text(),
                    r, g, fines[g], dual_fine_max(spec.bits));
  }
  return result;
}

float DualTensors::coarse_of(std::int64_t row) const {
  float value;
  std::memcpy(&value, coarse.data() + row * static_cast<std::int64_t>(sizeof value), sizeof value);
  return value;
}

void DualTensors::fine_and_zero(std::int64_t row, std::span<std::uint8_t> fines, std::span<std::uint8_t> zeros) const {
  const auto unpack_row = [&](std::span<const std::byte> packed, int bits, std::span<std::uint8_t> out) {
    const std::int64_t stride = packed_bytes(groups, bits);
    unpack_bits(packed.subspan(row * stride, stride), bits, 0, out);
  };
  unpack_row(fine, dual_fine_bits(spec.bits), fines);
  if (spec.symmetric)
    std::fill(zeros.begin(), zeros.end(), static_cast<std::uint8_t>(1 << (spec.bits - 1)));
  else
    unpack_row(zero, spec.bits, zeros);
}

class PackedDualMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  explicit PackedDualMatrix(DualTensors tensors) : t_(std::move(tensors)) {}

  std::int64_t rows() const override { return t_.rows; }
  std::int64_t cols() const override { return t_.cols; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override;
  std::int64_t stored_bytes() const override {
    return static_cast<std::int64_t>(t_.codes.size() + t_.fine.size() + t_.zero.size() + t_.coarse.size() +
                                     4 * t_.column_group.size());
  }
  std::string format_text() const override { return t_.spec.text(); }
  // open() looked at every parameter, and every code is one.
  std::optional<Unsound> unsound(std::int64_t, std::int64_t, const AllowedCodes&) const override {
    return std::nullopt;
  }

 private:
  // Columns from `c` on that share a group, at most up to `end`.
  std::int64_t run_of_group(std::int64_t c, std::int64_t end) const {
    if (t_.column_group.empty()) return std::min(end, (c / t_.spec.group + 1) * t_.spec.group) - c;
    std::int64_t last = c + 1;
    while (last < end && t_.column_group[last] == t_.column_group[c]) ++last;
    return last - c;
  }
  std::int64_t group_of(std::int64_t c) const {
    return t_.column_group.empty() ? c / t_.spec.group : t_.column_group[c];
  }

  DualTensors t_;
};

void PackedDualMatrix::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  std::vector<std::uint8_t> params(2 * t_.groups);
  const std::span<std::uint8_t> fines(params.data(), t_.groups), zeros(params.data() + t_.groups, t_.groups);
  std::array<std::uint8_t, chunk_columns> codes;
  for (std::int64_t r = first; r < first + count; ++r, out += t_.cols) {
    t_.fine_and_zero(r, fines, zeros);
    const float coarse = t_.coarse_of(r);
    for (std::int64_t begin = 0; begin < t_.cols; begin += chunk_columns) {
      const std::int64_t end = std::min(t_.cols, begin + chunk_columns);
      unpack_bits(t_.code_row(r), t_.spec.bits, begin, {codes.data(), static_cast<std::size_t>(end - begin)});
      for (std::int64_t c = begin; c < end;) {
        const std::int64_t width = run_of_group(c, end), g = group_of(c);
        dual_values(codes.data() + (c - begin), width, coarse, fines[g], zeros[g], out + c);
        c += width;
      }
    }
  }
}

std::vector<Tensor> pack(const GridPart& part) {
  const GridSpec& spec = part.grid->spec();
  const std::int64_t groups = part.groups();
  std::vector<Tensor> tensors;
  for (const StoredTensor& t : dual_layout(spec, part.rows, part.cols, !part.group_of_column.empty()))
    tensors.emplace_back(t.dtype, t.shape);
  std::vector<std::uint8_t> fines(part.rows * groups), zeros(part.rows * groups);
  std::vector<float> coarse(part.rows);
  for (std::int64_t r = 0; r < part.rows; ++r) {
    coarse[r] = part.params_of(r, 0)[dual_coarse];
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> params = part.params_of(r, g);
      assert(params[dual_coarse] == coarse[r]);  // settled
      assert(params[dual_fine] >= 1 && params[dual_fine] * static_cast<float>(dual_levels(spec.bits)) <= 255);
      fines[r * groups + g] = static_cast<std::uint8_t>(params[dual_fine]);
      zeros[r * groups + g] = static_cast<std::uint8_t>(params[dual_zero]);
    }
  }
  const auto store = [&](std::span<const std::uint8_t> values, std::int64_t columns, int bits, Tensor& tensor) {
    pack_rows(values, columns, bits, packed_bytes(columns, bits), tensor.bytes());
  };
  std::size_t next = 0;
  store(part.codes, part.cols, spec.bits, tensors[next++]);
  store(fines, groups, dual_fine_bits(spec.bits), tensors[next++]);
  if (!spec.symmetric) store(zeros, groups, spec.bits, tensors[next++]);
  std::memcpy(tensors[next++].bytes().data(), coarse.data(), coarse.size() * sizeof(float));
  if (!part.group_of_column.empty())
    std::memcpy(tensors[next].bytes().data(), part.group_of_column.data(), tensors[next].bytes().size());
  return tensors;
}

Result<std::unique_ptr<WeightMatrix>> open(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                           std::span<const TensorView> tensors) {
  VN_ASSIGN(DualTensors checked, DualTensors::make(spec, rows, cols, tensors));
  return std::unique_ptr<WeightMatrix>(std::make_unique<PackedDualMatrix>(std::move(checked)));
}

Result<GridPart> unpack(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                        std::span<const TensorView> tensors) {
  VN_ASSIGN(DualTensors checked, DualTensors::make(spec, rows, cols, tensors));
  GridPart part{.rows = rows, .cols = cols};
  VN_ASSIGN(part.grid, make_grid(spec));
  part.codes.resize(rows * cols);
  unpack_rows(checked.codes, cols, spec.bits, checked.code_stride(), part.codes);
  const std::int64_t groups = checked.groups;
  std::vector<std::uint8_t> fines(groups), zeros(groups);
  part.params.reserve(rows * groups * dual_params);
  for (std::int64_t r = 0; r < rows; ++r) {
    checked.fine_and_zero(r, fines, zeros);
    for (std::int64_t g = 0; g < groups; ++g)
      part.params.insert(part.params.end(),
                         {checked.coarse_of(r), static_cast<float>(fines[g]), static_cast<float>(zeros[g])});
  }
  part.group_of_column = std::move(checked.column_group);
  return part;
}

}  // namespace

std::vector<StoredTensor> dual_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups) {
  const std::int64_t groups = group_count(spec, cols);
  std::vector<StoredTensor> tensors{{"codes", DType::u8, {rows, packed_bytes(cols, spec.bits)}},
                                    {"fine", DType::u8, {rows, packed_bytes(groups, dual_fine_bits(spec.bits))}}};
  if (!spec.symmetric) tensors.push_back({"zero", DType::u8, {rows, packed_bytes(groups, spec.bits)}});
  tensors.push_back({"coarse", DType::f32, {rows}});
  if (column_groups) tensors.push_back({"column_group", DType::i32, {cols}});
  return tensors;
}

namespace units {
extern const FormatDescriptor format_dual;
const FormatDescriptor format_dual{
    .name = "dual",
    .summary = "integers of 2 to 4 bits under an integer scale per group and a float scale per row",
    .make = DualGrid::make,
    .layout = dual_layout,
    .pack = pack,
    .open = open,
    .unpack = unpack,
    .scale_dtype = DType::f32,
    .arithmetic = CodeArithmetic::dual,
};
}  // namespace units

}  // namespace vernier
