// Second moments of a linear's input, H = sum over tokens of x x^T (handbook, rounding, 8.4): raw sums of fixed chunks,
// lower triangle only, normalised once at the end. Keyed by the input value, so q, k and v share one.
#pragma once

#include <cstdint>
#include <vector>

#include "vernier/tensor.h"

namespace vernier {

class Hessian {
 public:
  explicit Hessian(std::int64_t columns);

  // Adds tokens in chunks of a fixed size that do not depend on how calls are cut: rows are buffered to full chunks.
  void add(Matrix<const float> x);
  // (2 / tokens) sum x x^T, both triangles filled, in place; the object is then read only.
  void finish();

  std::int64_t columns() const { return columns_; }
  std::int64_t tokens() const { return tokens_; }
  Matrix<float> matrix() { return {sum_.data(), columns_, columns_}; }
  Matrix<const float> matrix() const { return {sum_.data(), columns_, columns_}; }
  static std::int64_t bytes(std::int64_t columns);  // what one holds, buffers included

 private:
  void flush();
  std::int64_t columns_, tokens_ = 0, buffered_ = 0;
  std::vector<float> sum_, chunk_;
};

}  // namespace vernier
