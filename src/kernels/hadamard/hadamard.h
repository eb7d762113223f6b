// Orthonormal Walsh-Hadamard transforms of any size n = K L for which a Hadamard matrix of order K is known, L a power
// of two (handbook, transforms, 5): M = (H_K (x) H_L) / sqrt(n). A vector is seen as [K, L] row-major: butterflies
// along the rows, then H_K from the left. n log2 L + n K additions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier::kernels {

// A Hadamard matrix of this order, entries +-1, row-major, first row all ones; empty where no construction here gives
// one (orders above kMaxHadamardFactor included).
//  - 1, 2
//  - Paley I: order - 1 a prime = 3 mod 4;  Paley II: order / 2 - 1 a prime = 1 mod 4 (Paley 1933)
//  - Williamson 1944: 52, 156, 172
inline constexpr std::int64_t kMaxHadamardFactor = 2048;
std::vector<float> hadamard_factor(std::int64_t order);

class Hadamard {
 public:
  // K is the smallest order that works. Unsupported: n that is not 1, 2 or a multiple of 4, or whose odd part needs an
  // order nobody here can build; the message names n.
  static Result<Hadamard> make(std::int64_t n);

  std::int64_t size() const { return order_ * length_; }
  std::int64_t order() const { return order_; }    // K
  std::int64_t length() const { return length_; }  // L

  // Every slice of size() columns of every row: x <- M x, or M^T x. x.cols is a multiple of size(). Rows on all
  // workers, each by one of them.
  void apply(Matrix<float> x, bool transposed = false) const;
  // The same of one slice in double, on this thread: for weights, which are transformed once.
  void apply(std::span<double> x, bool transposed = false) const;

 private:
  Hadamard(std::int64_t order, std::int64_t length, std::vector<float> factor)
      : order_(order), length_(length), factor_(std::move(factor)) {}

  std::int64_t order_, length_;
  std::vector<float> factor_;  // [K, K]; empty for K = 1
};

// x <- H_n (scale x) for n a power of two: x is scaled first, so that sums of n large values do not overflow; then
// stages of (u + v, u - v) at distance 1, 2, 4 .. n / 2. The same bits on every instruction set.
using Butterflies = void (*)(float* x, std::int64_t n, float scale);
void butterflies_scalar(float* x, std::int64_t n, float scale);
void butterflies_avx2(float* x, std::int64_t n, float scale);
void butterflies_avx512(float* x, std::int64_t n, float scale);
Butterflies butterflies_kernel();  // for this CPU

}  // namespace vernier::kernels
