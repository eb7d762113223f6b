// Block types in tensors, and what they register.
#include <array>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "base/threads.h"
#include "formats/gguf/grid.h"
#include "formats/soundness.h"
#include "formats/stored_tensors.h"

namespace vernier {
namespace {

constexpr std::int64_t pack_rows_at_once = 16;  // of one worker

std::int64_t block_count(const BlockType& type, std::int64_t cols) { return (cols + type.block() - 1) / type.block(); }

const std::uint8_t* as_bytes_of(std::span<const std::byte> bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

std::array<float, block_params> params_of(const BlockFields& block, std::int64_t group) {
  return {block.d, block.dmin, block.scale[group], block.min[group]};
}

class BlockMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  BlockMatrix(const BlockType& type, std::int64_t rows, std::int64_t cols, std::span<const std::byte> bytes,
              std::shared_ptr<const void> keep_alive, std::vector<std::int32_t> column_group)
      : type_(type),
        rows_(rows),
        cols_(cols),
        bytes_(bytes),
        keep_alive_(std::move(keep_alive)),
        column_group_(std::move(column_group)) {}

  std::int64_t rows() const override { return rows_; }
  std::int64_t cols() const override { return cols_; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    const std::int64_t stride = block_count(type_, cols_) * type_.bytes();
    for (std::int64_t r = first; r < first + count; ++r, out += cols_) {
      const std::uint8_t* const row = as_bytes_of(bytes_) + r * stride;
      if (column_group_.empty())
        decode_row(row, out);
      else
        decode_mapped_row(row, out);
    }
  }
  std::int64_t stored_bytes() const override {
    return static_cast<std::int64_t>(bytes_.size() + sizeof(std::int32_t) * column_group_.size());
  }
  std::string format_text() const override { return std::string(type_.name); }
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const override;

 private:
  void decode_row(const std::uint8_t* row, float* out) const {
    BlockFields block;
    for (std::int64_t c = 0; c < cols_; c += type_.block(), row += type_.bytes()) {
      type_.unpack(row, block);
      const std::int64_t width = std::min(type_.block(), cols_ - c);
      for (std::int64_t i = 0; i < width; i += type_.group) {
        const auto used = static_cast<std::size_t>(std::min(type_.group, width - i));
        decode_block_codes(type_, {block.codes + i, used}, params_of(block, i / type_.group), out + c + i);
      }
    }
  }
  void decode_mapped_row(const std::uint8_t* row, float* out) const {
    const std::int64_t blocks = block_count(type_, cols_);
    std::vector<BlockFields> fields(blocks);
    for (std::int64_t b = 0; b < blocks; ++b) type_.unpack(row + b * type_.bytes(), fields[b]);
    for (std::int64_t c = 0; c < cols_; ++c) {
      const std::int64_t group = column_group_[c];
      const std::uint8_t code = fields[c / type_.block()].codes[c % type_.block()];
      decode_block_codes(type_, {&code, 1}, params_of(fields[group / type_.groups()], group % type_.groups()), out + c);
    }
  }

  const BlockType& type_;
  std::int64_t rows_, cols_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> keep_alive_;
  std::vector<std::int32_t> column_group_;
};

std::optional<Unsound> BlockMatrix::unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const {
  const std::int64_t blocks = block_count(type_, cols_);
  const std::uint8_t* at = as_bytes_of(bytes_) + first * blocks * type_.bytes();
  BlockFields block;
  for (std::int64_t r = first; r < first + count; ++r)
    for (std::int64_t b = 0; b < blocks; ++b, at += type_.bytes()) {
      type_.unpack(at, block);
      if (!std::isfinite(block.d) || !std::isfinite(block.dmin))
        return Unsound{fmt::format("scale of row {}, block {}", r, b), "a finite number",
                       fmt::format("{}", std::isfinite(block.d) ? block.dmin : block.d)};
      if (allowed.all()) continue;
      const std::int64_t column = b * type_.block();
      const std::span<const std::uint8_t> used(block.codes, std::min(type_.block(), cols_ - column));
      if (const std::int64_t bad = allowed.first_left_out(used); bad >= 0)
        return Unsound{fmt::format("code of row {}, column {}", r, column + bad), "a code of its grid",
                       fmt::format("{}", used[bad])};
    }
  return std::nullopt;
}

// Block b of a row; what lies past its end is zero.
void fill_block(const GridPart& part, const BlockType& type, std::int64_t row, std::int64_t b, BlockFields& block) {
  const std::int64_t first = b * type.block(), width = std::min(type.block(), part.cols - first);
  std::memcpy(block.codes, part.codes.data() + row * part.cols + first, static_cast<std::size_t>(width));
  std::memset(block.codes + width, type.zero, static_cast<std::size_t>(type.block() - width));
  const std::int64_t groups = part.groups();
  for (std::int64_t g = 0; g < type.groups(); ++g) {
    const std::int64_t index = b * type.groups() + g;
    block.scale[g] = type.joint() ? 0.0f : 1.0f;
    block.min[g] = type.affine && type.joint() ? 0.0f : 1.0f;
    if (index >= groups) continue;
    const auto params = part.params_of(row, index);
    block.d = params[block_d], block.dmin = params[block_dmin];
    block.scale[g] = params[block_scale], block.min[g] = params[block_min];
  }
}

std::vector<Tensor> pack(const GridPart& part) {
  const GridSpec& spec = part.grid->spec();
  const BlockType& type = *find_block_type(spec.format);
  std::vector<Tensor> tensors;
  for (const StoredTensor& t : block_layout(spec, part.rows, part.cols, !part.group_of_column.empty()))
    tensors.emplace_back(t.dtype, t.shape);
  const std::span<std::byte> blocks = tensors[0].bytes();
  parallel_ranges(part.rows, pack_rows_at_once, [&](std::int64_t begin, std::int64_t end) {
    auto* out = reinterpret_cast<std::uint8_t*>(blocks.data()) + begin * block_count(type, part.cols) * type.bytes();
    for (std::int64_t r = begin; r < end; ++r)
      for (std::int64_t b = 0; b < block_count(type, part.cols); ++b, out += type.bytes()) {
        BlockFields block;
        fill_block(part, type, r, b, block);
        type.pack(block, out);
      }
  });
  if (!part.group_of_column.empty())
    std::memcpy(tensors[1].bytes().data(), part.group_of_column.data(), tensors[1].bytes().size());
  return tensors;
}

struct OpenedBlocks {
  const BlockType* type;
  std::int64_t groups;
  std::vector<std::int32_t> column_group;
};

Result<OpenedBlocks> check(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                           std::span<const TensorView> tensors) {
  VN_ASSIGN(const auto grid, BlockGrid::make(spec));  // refuses bad specs
  VN_TRY(check_stored_tensors(spec, rows, cols, tensors, block_layout));
  OpenedBlocks opened{find_block_type(spec.format), grid->groups(cols), {}};
  if (tensors.size() > 1) {
    VN_ASSIGN(opened.column_group, read_column_groups(spec, tensors[1], opened.groups));
  }
  return opened;
}

Result<std::unique_ptr<WeightMatrix>> open(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                           std::span<const TensorView> tensors) {
  VN_ASSIGN(OpenedBlocks opened, check(spec, rows, cols, tensors));
  return std::unique_ptr<WeightMatrix>(std::make_unique<BlockMatrix>(*opened.type, rows, cols, tensors[0].bytes,
                                                                     nullptr, std::move(opened.column_group)));
}

Result<GridPart> unpack(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                        std::span<const TensorView> tensors) {
  VN_ASSIGN(OpenedBlocks opened, check(spec, rows, cols, tensors));
  const BlockType& type = *opened.type;
  GridPart part{.rows = rows, .cols = cols};
  VN_ASSIGN(part.grid, make_grid(spec));
  part.group_of_column = std::move(opened.column_group);
  part.codes.resize(rows * cols);
  part.params.reserve(rows * opened.groups * block_params);
  const std::uint8_t* bytes = as_bytes_of(tensors[0].bytes);
  BlockFields block;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t b = 0; b < block_count(type, cols); ++b, bytes += type.bytes()) {
      type.unpack(bytes, block);
      if (!std::isfinite(block.d) || !std::isfinite(block.dmin))
        return fail(ErrorCode::invalid, "{} weight: row {}, block {}: its scale is not finite", type.name, r, b);
      const std::int64_t first = b * type.block();
      for (std::int64_t i = 0; i < std::min(type.block(), cols - first); ++i) {
        if (block.codes[i] >= type.levels)
          return fail(ErrorCode::invalid, "{} weight: row {}, column {}: code {}, at most {} wanted", type.name, r,
                      first + i, block.codes[i], type.levels - 1);
        part.codes[r * cols + first + i] = block.codes[i];
      }
      for (std::int64_t g = 0; g < std::min(type.groups(), opened.groups - b * type.groups()); ++g) {
        const auto params = params_of(block, g);
        part.params.insert(part.params.end(), params.begin(), params.end());
      }
    }
  return part;
}

}  // namespace

std::vector<StoredTensor> block_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups) {
  const BlockType& type = *find_block_type(spec.format);
  std::vector<StoredTensor> tensors{{"blocks", DType::u8, {rows, block_count(type, cols) * type.bytes()}}};
  if (column_groups) tensors.push_back({"column_group", DType::i32, {cols}});
  return tensors;
}

Result<std::shared_ptr<const WeightMatrix>> block_matrix(const BlockType& type, std::int64_t rows, std::int64_t cols,
                                                         std::span<const std::byte> bytes,
                                                         std::shared_ptr<const void> keep_alive) {
  const TensorView view{DType::u8, {rows, block_count(type, cols) * type.bytes()}, bytes};
  VN_ASSIGN(const OpenedBlocks checked, check(type.spec(), rows, cols, {&view, 1}));
  return std::shared_ptr<const WeightMatrix>(std::make_shared<BlockMatrix>(
      *checked.type, rows, cols, bytes, std::move(keep_alive), std::vector<std::int32_t>()));
}

namespace units {
namespace {

FormatDescriptor block_format(std::string_view name, std::string_view summary) {
  return {.name = name,
          .summary = summary,
          .make = BlockGrid::make,
          .layout = block_layout,
          .pack = pack,
          .open = open,
          .unpack = unpack,
          .scale_dtype = {},
          .fixed = find_block_type(name)->spec()};
}

}  // namespace
extern const FormatDescriptor format_q4_0, format_q4_1, format_q5_0, format_q5_1, format_q8_0, format_q2_k, format_q3_k,
    format_q4_k, format_q5_k, format_q6_k, format_iq4_nl, format_iq4_xs, format_tq1_0, format_tq2_0, format_mxfp4;
const FormatDescriptor format_q4_0 = block_format("q4_0", "GGUF Q4_0: 4-bit integers, a half scale for 32 (4.5 bits)");
const FormatDescriptor format_q4_1 =
    block_format("q4_1", "GGUF Q4_1: 4-bit integers, a half scale and minimum for 32 (5 bits)");
const FormatDescriptor format_q5_0 = block_format("q5_0", "GGUF Q5_0: 5-bit integers, a half scale for 32 (5.5 bits)");
const FormatDescriptor format_q5_1 =
    block_format("q5_1", "GGUF Q5_1: 5-bit integers, a half scale and minimum for 32 (6 bits)");
const FormatDescriptor format_q8_0 = block_format("q8_0", "GGUF Q8_0: 8-bit integers, a half scale for 32 (8.5 bits)");
const FormatDescriptor format_q2_k =
    block_format("q2_k", "GGUF Q2_K: 2-bit integers, 4-bit scales and minimums for 16 (2.625 bits)");
const FormatDescriptor format_q3_k = block_format("q3_k", "GGUF Q3_K: 3-bit integers, 6-bit scales for 16 (3.44 bits)");
const FormatDescriptor format_q4_k =
    block_format("q4_k", "GGUF Q4_K: 4-bit integers, 6-bit scales and minimums for 32 (4.5 bits)");
const FormatDescriptor format_q5_k =
    block_format("q5_k", "GGUF Q5_K: 5-bit integers, 6-bit scales and minimums for 32 (5.5 bits)");
const FormatDescriptor format_q6_k = block_format("q6_k", "GGUF Q6_K: 6-bit integers, 8-bit scales for 16 (6.56 bits)");
const FormatDescriptor format_iq4_nl =
    block_format("iq4_nl", "GGUF IQ4_NL: 16 uneven levels, a half scale for 32 (4.5 bits)");
const FormatDescriptor format_iq4_xs =
    block_format("iq4_xs", "GGUF IQ4_XS: 16 uneven levels, 6-bit scales for 32 (4.25 bits)");
const FormatDescriptor format_tq1_0 =
    block_format("tq1_0", "GGUF TQ1_0: ternary, five in a byte, a half scale for 256 (1.69 bits)");
const FormatDescriptor format_tq2_0 =
    block_format("tq2_0", "GGUF TQ2_0: ternary, four in a byte, a half scale for 256 (2.06 bits)");
const FormatDescriptor format_mxfp4 =
    block_format("mxfp4", "GGUF MXFP4: E2M1 floats under a power of two for 32 (4.25 bits)");
}  // namespace units

}  // namespace vernier
