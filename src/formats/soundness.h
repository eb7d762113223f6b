// Whether the numbers that a matrix is stored as are ones its format allows: a scale that is no number decodes every
// weight of its group to none, and a code that its grid never chooses is damage.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vernier/format.h"

namespace vernier {

// One stored number that cannot be.
struct Unsound {
  std::string what;           // "scale of row 3, group 1"
  std::string wanted, found;  // "a finite number other than 0", "nan"
};

// The codes of a grid. A code is left out when rounding its own value gives another value: the fourth code of ternary
// numbers, the NaNs of small floats.
class AllowedCodes {
 public:
  AllowedCodes() = default;  // every code
  explicit AllowedCodes(const Grid& grid);

  bool all() const { return left_out_.empty(); }
  std::span<const std::uint8_t> left_out() const { return left_out_; }
  std::int64_t first_left_out(std::span<const std::uint8_t> codes) const;  // its index, or -1

 private:
  std::vector<std::uint8_t> left_out_;
};

// Beside WeightMatrix, where looking at the stored numbers is cheaper, or sees more, than decoding them all.
class SoundnessCheck {
 public:
  virtual ~SoundnessCheck() = default;
  // The first of rows [first, first + count) that is not sound. Thread-safe.
  virtual std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const = 0;
};

// By the matrix's own check, else that all it decodes to is finite.
std::optional<Unsound> find_unsound(const WeightMatrix& matrix, std::int64_t first, std::int64_t count,
                                    const AllowedCodes& allowed);

enum class ScaleRule { finite, not_zero, not_negative, positive };  // the latter three finite, too
// Of a row's scales, one for each group.
std::optional<Unsound> unsound_scale(std::span<const float> scales, ScaleRule rule, std::int64_t row);
std::optional<Unsound> unsound_code(std::span<const std::uint8_t> codes, const AllowedCodes& allowed, std::int64_t row);
Unsound not_finite(std::int64_t row, std::int64_t column, float value);

}  // namespace vernier
