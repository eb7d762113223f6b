#include "containers/bitsandbytes/matrix.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/json.h"
#include "containers/stored_source.h"
#include "formats/soundness.h"
#include "tensor/convert.h"

namespace vernier::bitsandbytes {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 40;
constexpr std::size_t kMostStateBytes = 1 << 16;

Error wrong(const Checkpoint& checkpoint, const std::string& tensor, const std::string& wanted) {
  const TensorEntry& entry = checkpoint.find(tensor)->tensor;
  return with_hint(fail(ErrorCode::mismatch, "{}: tensor {} is {} {}, wanted {}", checkpoint.folder(), tensor,
                        name(entry.dtype), entry.shape.text(), wanted),
                   "the tensors of a weight must come from one run");
}

// A tensor of `count` elements of `dtype`.
Result<TensorView> get(const Checkpoint& checkpoint, const std::string& tensor, DType dtype, std::int64_t count) {
  VN_ASSIGN(const TensorView view, checkpoint.view(tensor));
  if (view.dtype != dtype || view.shape.elements() != count)
    return wrong(checkpoint, tensor, fmt::format("{} {}", count, name(dtype)));
  return view;
}

template <std::size_t N>
Result<std::array<float, N>> table(const Checkpoint& checkpoint, const std::string& tensor) {
  VN_ASSIGN(const TensorView view, get(checkpoint, tensor, DType::f32, N));
  std::array<float, N> values;
  to_float(view, 0, values);
  for (const float value : values)
    if (!std::isfinite(value))
      return fail(ErrorCode::invalid, "{}: tensor {} holds {}", checkpoint.folder(), tensor, value);
  return values;
}

Status read_state(const Checkpoint& checkpoint, const std::string& name, NibbleTensors& t) {
  VN_ASSIGN(const TensorView view, checkpoint.view(name));
  const std::string where = checkpoint.folder() + ": tensor " + name;
  if (view.dtype != DType::u8 || view.bytes.size() > kMostStateBytes)
    return wrong(checkpoint, name, "a few bytes of JSON");
  VN_ASSIGN(const Json state, parse_json({reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()}, where));
  if (!state.is_object()) return fail(ErrorCode::invalid, "{}: wanted a JSON object", where);
  const ConfigReader reader(state, where);
  VN_ASSIGN(t.kind, reader.string("quant_type", ""));
  VN_ASSIGN(t.block, reader.integer("blocksize"));
  const Json* shape = reader.find("shape");
  const auto side = [](const Json& json) { return json.is_number_integer() && json > 0 && json <= INT32_MAX; };
  if (!shape || !shape->is_array() || shape->size() != 2 || !side((*shape)[0]) || !side((*shape)[1]))
    return fail(ErrorCode::invalid, "{}: shape: wanted [rows, columns]", where);
  t.rows = (*shape)[0].get<std::int64_t>();
  t.cols = (*shape)[1].get<std::int64_t>();
  if (t.rows > kMostElements / t.cols || t.block < 2 || t.block > INT32_MAX || t.block % 2 != 0)
    return fail(ErrorCode::invalid, "{}: unusable shape [{}, {}] in blocks of {}", where, t.rows, t.cols, t.block);
  if (t.kind != "nf4" && t.kind != "fp4")
    return fail(ErrorCode::unsupported, "{}: quant_type \"{}\" is not read here, wanted nf4 or fp4", where, t.kind);
  t.nested = reader.find("nested_blocksize") != nullptr;
  if (!t.nested) return {};
  VN_ASSIGN(t.nested_block, reader.integer("nested_blocksize"));
  const Json* offset = reader.find("nested_offset");
  if (!offset || !offset->is_number() || t.nested_block < 1 || t.nested_block > INT32_MAX)
    return fail(ErrorCode::invalid, "{}: wanted a positive nested_blocksize and a number under nested_offset", where);
  t.nested_offset = offset->get<float>();
  return {};
}

class NibbleMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  NibbleMatrix(NibbleTensors tensors, std::int64_t stored_bytes) : t_(std::move(tensors)), bytes_(stored_bytes) {}

  std::int64_t rows() const override { return t_.rows; }
  std::int64_t cols() const override { return t_.cols; }
  std::int64_t stored_bytes() const override { return bytes_; }
  std::string format_text() const override { return t_.kind; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    const std::int64_t end = (first + count) * t_.cols;
    for (std::int64_t i = first * t_.cols; i < end;) {
      const std::int64_t stop = std::min(end, (i / t_.block + 1) * t_.block);
      const float scale = scale_of(i / t_.block);
      for (; i < stop; ++i) {
        const auto byte = std::to_integer<std::uint8_t>(codes[i / 2]);
        *out++ = levels[i % 2 == 0 ? byte >> 4 : byte & 15] * scale;
      }
    }
  }

  // A block's absmax may lie in two rows. Double quantization may round that of a block of zeros below 0.
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes&) const override {
    const std::int64_t last = ((first + count) * t_.cols + t_.block - 1) / t_.block;
    for (std::int64_t block = first * t_.cols / t_.block; block < last; ++block) {
      const float scale = scale_of(block);
      if (auto bad = unsound_scale({&scale, 1}, t_.nested ? ScaleRule::finite : ScaleRule::not_negative, 0)) {
        bad->what = fmt::format("absmax of block {}", block);
        return bad;
      }
    }
    return std::nullopt;
  }

  std::span<const std::byte> codes;
  TensorView absmax, nested_absmax;
  std::array<float, 16> levels{};
  std::array<float, 256> nested_levels{};
  std::vector<std::shared_ptr<const void>> keep_alive;

 private:
  float scale_of(std::int64_t block) const {
    float scale = 0;
    if (!t_.nested) {
      to_float(absmax, block, {&scale, 1});
      return scale;
    }
    to_float(nested_absmax, block / t_.nested_block, {&scale, 1});
    return nested_levels[std::to_integer<std::uint8_t>(absmax.bytes[block])] * scale + t_.nested_offset;
  }

  NibbleTensors t_;
  std::int64_t bytes_;
};

class RowMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  RowMatrix(const RowTensors& t, std::int64_t stored_bytes) : rows_(t.rows), cols_(t.cols), bytes_(stored_bytes) {}

  std::int64_t rows() const override { return rows_; }
  std::int64_t cols() const override { return cols_; }
  std::int64_t stored_bytes() const override { return bytes_; }
  std::string format_text() const override { return "int8 (bitsandbytes)"; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    for (std::int64_t r = first; r < first + count; ++r) {
      float absmax = 0;
      to_float(scale, r, {&absmax, 1});
      for (std::int64_t c = 0; c < cols_; ++c)
        *out++ = static_cast<float>(static_cast<std::int8_t>(codes[r * cols_ + c])) * absmax / 127;
    }
  }

  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes&) const override {
    for (std::int64_t r = first; r < first + count; ++r) {
      float absmax = 0;
      to_float(scale, r, {&absmax, 1});
      if (auto bad = unsound_scale({&absmax, 1}, ScaleRule::not_negative, r)) return bad;
    }
    return std::nullopt;
  }

  std::span<const std::byte> codes;
  TensorView scale;
  std::vector<std::shared_ptr<const void>> keep_alive;

 private:
  std::int64_t rows_, cols_, bytes_;
};

std::int64_t bytes_of(const Checkpoint& checkpoint, const std::vector<std::string>& names) {
  std::int64_t bytes = 0;
  for (const std::string& name : names) bytes += checkpoint.find(name)->tensor.bytes();
  return bytes;
}

}  // namespace

Result<NibbleTensors> find_nibbles(const Checkpoint& checkpoint, const std::string& weight, const std::string& state) {
  NibbleTensors t;
  t.weight = weight;
  VN_TRY(read_state(checkpoint, state, t));
  VN_ASSIGN(const TensorView codes, checkpoint.view(weight));
  if (static_cast<std::int64_t>(codes.bytes.size()) != (t.rows * t.cols + 1) / 2)
    return wrong(checkpoint, weight, fmt::format("{} bytes for [{}, {}]", (t.rows * t.cols + 1) / 2, t.rows, t.cols));
  VN_TRY(get(checkpoint, weight + ".absmax", t.nested ? DType::u8 : DType::f32, t.blocks()));
  VN_TRY(table<16>(checkpoint, weight + ".quant_map"));
  t.names = {weight, weight + ".absmax", weight + ".quant_map", state};
  if (t.nested) {
    VN_TRY(get(checkpoint, weight + ".nested_absmax", DType::f32, (t.blocks() + t.nested_block - 1) / t.nested_block));
    VN_TRY(table<256>(checkpoint, weight + ".nested_quant_map"));
    t.names.push_back(weight + ".nested_absmax");
    t.names.push_back(weight + ".nested_quant_map");
  }
  return t;
}

Result<std::shared_ptr<const WeightMatrix>> open_nibbles(const Checkpoint& checkpoint, const NibbleTensors& t) {
  auto matrix = std::make_shared<NibbleMatrix>(t, bytes_of(checkpoint, t.names));
  VN_ASSIGN(const TensorView codes, checkpoint.view(t.weight));
  matrix->codes = codes.bytes;
  VN_ASSIGN(matrix->absmax, checkpoint.view(t.weight + ".absmax"));
  VN_ASSIGN(matrix->levels, table<16>(checkpoint, t.weight + ".quant_map"));
  if (t.nested) {
    VN_ASSIGN(matrix->nested_absmax, checkpoint.view(t.weight + ".nested_absmax"));
    VN_ASSIGN(matrix->nested_levels, table<256>(checkpoint, t.weight + ".nested_quant_map"));
  }
  for (const std::string& name : t.names) matrix->keep_alive.push_back(mapping_of(checkpoint, name));
  return std::shared_ptr<const WeightMatrix>(std::move(matrix));
}

Result<RowTensors> find_rows(const Checkpoint& checkpoint, const std::string& module) {
  RowTensors t;
  t.weight = module + ".weight";
  t.scale = module + ".SCB";
  VN_ASSIGN(const TensorView codes, checkpoint.view(t.weight));
  if (codes.dtype != DType::i8 || codes.shape.rank() != 2) return wrong(checkpoint, t.weight, "a matrix of I8");
  t.rows = codes.shape[0];
  t.cols = codes.shape[1];
  VN_TRY(get(checkpoint, t.scale, DType::f32, t.rows));
  t.names = {t.weight, t.scale};
  if (checkpoint.find(module + ".weight_format")) t.names.push_back(module + ".weight_format");
  return t;
}

Result<std::shared_ptr<const WeightMatrix>> open_rows(const Checkpoint& checkpoint, const RowTensors& t) {
  auto matrix = std::make_shared<RowMatrix>(t, bytes_of(checkpoint, t.names));
  VN_ASSIGN(const TensorView codes, checkpoint.view(t.weight));
  matrix->codes = codes.bytes;
  VN_ASSIGN(matrix->scale, checkpoint.view(t.scale));
  for (const std::string& name : t.names) matrix->keep_alive.push_back(mapping_of(checkpoint, name));
  return std::shared_ptr<const WeightMatrix>(std::move(matrix));
}

}  // namespace vernier::bitsandbytes
