// Ternary weights: -s, 0 and s, with one s for a group, a row or the tensor (BitNet b1.58, 2024, uses one a tensor).
// Stored as symmetric integers of 2 bits whose lowest code is never used, so that whatever reads those reads these.
#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "formats/int/grid.h"

namespace vernier {
namespace {

constexpr float kZero = 2;  // the code of 0

class TernaryGrid final : public Grid {
 public:
  static Result<std::unique_ptr<Grid>> make(const GridSpec& spec) {
    if (spec.bits != 2)
      return fail(ErrorCode::unsupported, "format ternary: bits must be 2 (what a code is stored in), found {}",
                  spec.bits);
    if (!spec.symmetric) return fail(ErrorCode::unsupported, "format ternary: symmetric must be true, found false");
    VN_ASSIGN(auto base, IntGrid::make(spec));
    return std::unique_ptr<Grid>(new TernaryGrid(spec, std::move(base)));
  }

  int params_per_group() const override { return int_params; }

  // A symmetric grid of 2 bits has its largest magnitude at 1.5 steps, this one at 1.
  void params_from_range(float low, float high, std::span<float> params) const override {
    base_->params_from_range(1.5f * low, 1.5f * high, params);
  }

  void encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
              std::span<float> decoded) const override {
    for (std::size_t i = 0; i < values.size(); ++i) encode_one(values[i], params[int_scale], codes[i], decoded[i]);
  }

  void decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const override {
    base_->decode(codes, params, out);
  }

  void encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                     float* decoded) const override {
    for (std::int64_t i = 0; i < count; ++i) encode_one(values[i], params[int_scale][i], codes[i], decoded[i]);
  }

  double bits_per_weight(std::int64_t rows, std::int64_t cols) const override {
    return base_->bits_per_weight(rows, cols);
  }

 private:
  TernaryGrid(const GridSpec& spec, std::unique_ptr<Grid> base) : Grid(spec), base_(std::move(base)) {}

  static void encode_one(float value, float scale, std::uint8_t& code, float& decoded) {
    float q = std::rint(value / scale);
    q = q > -1 ? q : -1.0f;  // also catches NaN
    q = q < 1 ? q : 1.0f;
    code = static_cast<std::uint8_t>(static_cast<int>(q + kZero));
    decoded = q * scale;
  }

  std::unique_ptr<Grid> base_;
};

}  // namespace

namespace units {
extern const FormatDescriptor format_ternary;
const FormatDescriptor format_ternary{
    .name = "ternary",
    .summary = "-s, 0 and s in 2 bits a code; s per tensor, channel or group",
    .make = TernaryGrid::make,
    .layout = int_layout,
    .pack = int_pack,
    .open = int_open,
    .unpack = int_unpack,
    .arithmetic = CodeArithmetic::affine,
};
}  // namespace units

}  // namespace vernier
