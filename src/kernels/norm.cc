#include <array>
#include <cmath>

#include "base/threads.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kGrainValues = 1 << 15;  // of one worker's piece
constexpr int kLanes = 8;

std::int64_t grain(std::int64_t cols) {
  return std::max<std::int64_t>(kGrainValues / std::max<std::int64_t>(cols, 1), 1);
}

// Sum of f(x[i]) in double, in kLanes interleaved partial sums.
template <class F>
double sum(const float* x, std::int64_t n, F f) {
  std::array<double, kLanes> lanes{};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += f(x[i + lane]);
  double total = 0;
  for (; i < n; ++i) total += f(x[i]);
  for (double lane : lanes) total += lane;
  return total;
}

}  // namespace

void rms_norm_row(const float* x, std::int64_t width, std::span<const float> weight, float eps, float unit_offset,
                  float* y) {
  const double square = sum(x, width, [](float v) { return static_cast<double>(v) * v; }) / width;
  const float factor = static_cast<float>(1.0 / std::sqrt(square + eps));
  for (std::int64_t c = 0; c < width; ++c) y[c] = x[c] * factor * (weight.empty() ? 1.0f : unit_offset + weight[c]);
}

void rms_norm(Matrix<const float> x, std::span<const float> weight, float eps, float unit_offset, std::int64_t slice,
              Matrix<float> y) {
  const std::int64_t width = slice > 0 ? slice : x.cols;
  parallel_ranges(x.rows, grain(x.cols), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t begin = 0; begin < x.cols; begin += width)
        rms_norm_row(x.row(row) + begin, width, weight, eps, unit_offset, y.row(row) + begin);
    }
  });
}

void layer_norm(Matrix<const float> x, std::span<const float> weight, std::span<const float> bias, float eps,
                Matrix<float> y) {
  parallel_ranges(x.rows, grain(x.cols), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const float* in = x.row(row);
      float* out = y.row(row);
      const double mean = sum(in, x.cols, [](float v) { return static_cast<double>(v); }) / x.cols;
      const double variance = sum(in, x.cols, [mean](float v) { return (v - mean) * (v - mean); }) / x.cols;
      const double factor = 1.0 / std::sqrt(variance + eps);
      for (std::int64_t c = 0; c < x.cols; ++c) {
        const float normal = static_cast<float>((in[c] - mean) * factor);
        out[c] = normal * (weight.empty() ? 1.0f : weight[c]) + (bias.empty() ? 0.0f : bias[c]);
      }
    }
  });
}

}  // namespace vernier::kernels
