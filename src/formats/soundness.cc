#include "formats/soundness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/vectorize.h"
#include "tensor/finite.h"

namespace vernier {
namespace {

constexpr std::int64_t decoded_rows = 16;  // at a time

VN_VECTORIZED bool contains(const std::uint8_t* __restrict codes, std::int64_t count, std::uint8_t code) {
  std::uint8_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) found |= static_cast<std::uint8_t>(codes[i] == code);
  return found != 0;
}

bool keeps(ScaleRule rule, float scale) {
  if (!std::isfinite(scale)) return false;
  switch (rule) {
    case ScaleRule::finite:
      return true;
    case ScaleRule::not_zero:
      return scale != 0;
    case ScaleRule::not_negative:
      return scale >= 0;
    case ScaleRule::positive:
      return scale > 0;
  }
  return false;
}

std::string_view text(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::finite:
      return "a finite number";
    case ScaleRule::not_zero:
      return "a finite number other than 0";
    case ScaleRule::not_negative:
      return "a finite number, at least 0";
    case ScaleRule::positive:
      return "a finite number above 0";
  }
  return {};
}

}  // namespace

AllowedCodes::AllowedCodes(const Grid& grid) {
  std::vector<float> params(grid.params_per_group());
  grid.params_from_range(-1, 1, params);
  if (grid.joint_groups()) grid.settle_row(params);
  if (grid.joint_rows() != 1) grid.settle_rows(1, params);
  for (int i = 0; i < 1 << grid.spec().bits; ++i) {
    const auto code = static_cast<std::uint8_t>(i);
    std::uint8_t nearest = 0;
    float value = 0, rounded = 0;
    grid.decode({&code, 1}, params, {&value, 1});
    grid.encode({&value, 1}, params, {&nearest, 1}, {&rounded, 1});
    if (rounded != value) left_out_.push_back(code);  // NaN is never its own
  }
}

std::int64_t AllowedCodes::first_left_out(std::span<const std::uint8_t> codes) const {
  const auto count = static_cast<std::int64_t>(codes.size());
  const auto wrong = [&](std::uint8_t code) {
    return std::find(left_out_.begin(), left_out_.end(), code) != left_out_.end();
  };
  if (std::none_of(left_out_.begin(), left_out_.end(),
                   [&](std::uint8_t code) { return contains(codes.data(), count, code); }))
    return -1;
  return std::find_if(codes.begin(), codes.end(), wrong) - codes.begin();
}

std::optional<Unsound> find_unsound(const WeightMatrix& matrix, std::int64_t first, std::int64_t count,
                                    const AllowedCodes& allowed) {
  if (const auto* check = dynamic_cast<const SoundnessCheck*>(&matrix)) return check->unsound(first, count, allowed);
  std::vector<float> values(std::min(count, decoded_rows) * matrix.cols());
  for (std::int64_t done = 0; done < count; done += decoded_rows) {
    const std::int64_t rows = std::min(decoded_rows, count - done);
    const std::span<float> decoded(values.data(), static_cast<std::size_t>(rows * matrix.cols()));
    matrix.decode_rows(first + done, rows, decoded.data());
    if (const std::int64_t bad = first_not_finite(decoded); bad >= 0)
      return not_finite(first + done + bad / matrix.cols(), bad % matrix.cols(), decoded[bad]);
  }
  return std::nullopt;
}

std::optional<Unsound> unsound_scale(std::span<const float> scales, ScaleRule rule, std::int64_t row) {
  const auto bad = std::find_if_not(scales.begin(), scales.end(), [&](float scale) { return keeps(rule, scale); });
  if (bad == scales.end()) return std::nullopt;
  return Unsound{fmt::format("scale of row {}, group {}", row, bad - scales.begin()), std::string(text(rule)),
                 fmt::format("{}", *bad)};
}

std::optional<Unsound> unsound_code(std::span<const std::uint8_t> codes, const AllowedCodes& allowed,
                                    std::int64_t row) {
  const std::int64_t bad = allowed.first_left_out(codes);
  if (bad < 0) return std::nullopt;
  return Unsound{fmt::format("code of row {}, column {}", row, bad), "a code of its grid",
                 fmt::format("{}", codes[bad])};
}

Unsound not_finite(std::int64_t row, std::int64_t column, float value) {
  return {fmt::format("value of row {}, column {}", row, column), "a finite number", fmt::format("{}", value)};
}

}  // namespace vernier
