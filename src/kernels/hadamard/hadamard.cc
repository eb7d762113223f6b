#include "kernels/hadamard/hadamard.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/fail.h"
#include "base/threads.h"
#include "kernels/isa.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

// Numbers a worker takes at a time: enough to hide the dispatch, few enough that a small batch is shared.
constexpr std::int64_t kNumbersPerPiece = 1 << 14;

// The whole vector is scaled before any sum.
double unit_scale(std::int64_t n) { return 1 / std::sqrt(static_cast<double>(n)); }

}  // namespace

Butterflies butterflies_kernel() { return pick<butterflies_scalar, butterflies_avx2, butterflies_avx512>(); }

Result<Hadamard> Hadamard::make(std::int64_t n) {
  const std::int64_t limit = std::min(n, kMaxHadamardFactor);
  std::int64_t odd = n;
  while (odd > 0 && odd % 2 == 0) odd /= 2;
  if (odd == 1) return Hadamard(1, n, {});
  for (std::int64_t order = 4 * odd; odd > 0 && order <= limit && n % order == 0; order *= 2)
    if (std::vector<float> factor = hadamard_factor(order); !factor.empty())
      return Hadamard(order, n / order, std::move(factor));
  return with_hint(fail(ErrorCode::unsupported, "no Hadamard transform of size {} is known here", n),
                   "a random orthogonal matrix works for any size");
}

void Hadamard::apply(Matrix<float> x, bool transposed) const {
  const std::int64_t n = size(), slices = x.cols / n;
  assert(x.cols % n == 0);
  const Butterflies butterflies = butterflies_kernel();
  const auto scale = static_cast<float>(unit_scale(n));
  const std::int64_t grain = std::max<std::int64_t>(1, kNumbersPerPiece / n);
  parallel_ranges(x.rows * slices, grain, [&](std::int64_t first, std::int64_t last) {
    thread_local Scratch<float> scratch;
    float* const mixed = order_ > 1 ? scratch.get(n) : nullptr;
    for (std::int64_t i = first; i < last; ++i) {
      float* const slice = x.row(i / slices) + i % slices * n;
      for (std::int64_t k = 0; k < order_; ++k) butterflies(slice + k * length_, length_, scale);
      if (order_ == 1) continue;
      const Matrix<const float> factor(factor_.data(), order_, order_), from(slice, order_, length_);
      if (transposed)
        sgemm_at(factor, from, {mixed, order_, length_});
      else
        sgemm(factor, from, false, {mixed, order_, length_});
      std::copy_n(mixed, n, slice);
    }
  });
}

void Hadamard::apply(std::span<double> x, bool transposed) const {
  const std::int64_t n = size();
  assert(static_cast<std::int64_t>(x.size()) == n);
  const double scale = unit_scale(n);
  for (double& v : x) v *= scale;
  for (std::int64_t h = 1; h < length_; h *= 2)
    for (std::int64_t first = 0; first < n; first += 2 * h)
      for (std::int64_t i = first; i < first + h; ++i) {
        const double u = x[i], v = x[i + h];
        x[i] = u + v;
        x[i + h] = u - v;
      }
  if (order_ == 1) return;
  std::vector<double> mixed(n, 0.0);
  for (std::int64_t i = 0; i < order_; ++i)
    for (std::int64_t j = 0; j < order_; ++j) {
      const double sign = transposed ? factor_[j * order_ + i] : factor_[i * order_ + j];
      for (std::int64_t l = 0; l < length_; ++l) mixed[i * length_ + l] += sign * x[j * length_ + l];
    }
  std::copy(mixed.begin(), mixed.end(), x.begin());
}

}  // namespace vernier::kernels
