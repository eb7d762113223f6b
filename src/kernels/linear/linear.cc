#include <algorithm>
#include <atomic>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/dot/dot.h"
#include "kernels/linear/bf16.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

// Below this many tokens a row is decoded and dotted while it is in the first-level cache; from here on products win.
constexpr std::int64_t kFewTokens = 8;
// Tile of a product. oneDNN reaches its full rate from 256 x 256 x 512 on; tiles follow from shapes alone, so results
// do not depend on the number of threads. 512 tokens amortise the decoding of a tile's weights.
constexpr std::int64_t kTileTokens = 512;
constexpr std::int64_t kTileRows = 256;
constexpr std::int64_t kSmallTileRows = 128;  // for matrices of few rows: enough tiles for all workers
constexpr std::int64_t kManyRows = 1024;
constexpr std::int64_t kPieceWeights = 1 << 16;  // of one worker's piece with few tokens
constexpr std::int64_t kStripWeights = 1 << 12;  // decoded at once with few tokens: stays in the first-level cache

constexpr std::int64_t kRowPadding = 16;  // floats after a decoded row: powers of two would share cache sets

std::atomic<DType> compute_type = DType::f32;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Rows [first, first + count) of the weight as floats: in place where it is stored so, else decoded.
Matrix<const float> weight_rows(const WeightMatrix& weight, std::int64_t first, std::int64_t count,
                                Scratch<float>& scratch) {
  if (const Matrix<const float> dense = weight.dense(); dense.data) return dense.rows_slice(first, count);
  const std::int64_t stride = weight.cols() + kRowPadding;
  float* rows = scratch.get(count * stride);
  for (std::int64_t r = 0; r < count; ++r) weight.decode_rows(first + r, 1, rows + r * stride);
  return {rows, count, weight.cols(), stride};
}

void few_tokens(Matrix<const float> x, const WeightMatrix& weight, std::span<const float> bias, Matrix<float> y) {
  const Dot dot = dot_kernel();
  const std::int64_t cols = std::max<std::int64_t>(weight.cols(), 1);
  const std::int64_t strip = std::max<std::int64_t>(kStripWeights / cols, 1);
  const std::int64_t piece = divide_up(kPieceWeights, cols);
  parallel_ranges(weight.rows(), piece, [&](std::int64_t first, std::int64_t last) {
    static thread_local Scratch<float> scratch;
    for (std::int64_t begin = first; begin < last; begin += strip) {
      const auto w = weight_rows(weight, begin, std::min(strip, last - begin), scratch);
      for (std::int64_t r = 0; r < w.rows; ++r) {
        const float offset = bias.empty() ? 0.0f : bias[begin + r];
        for (std::int64_t t = 0; t < x.rows; ++t) y(t, begin + r) = dot(x.row(t), w.row(r), x.cols) + offset;
      }
    }
  });
}

// y = x w^T for one tile, in bf16 where x16 has the same rows of x rounded to it.
void tile_product(Matrix<const float> x, Matrix<const std::uint16_t> x16, Matrix<const float> w, Matrix<float> y) {
  if constexpr (kX86) {
    static thread_local Scratch<std::uint16_t> scratch;
    if (x16.data) {
      const Matrix<std::uint16_t> w16(scratch.get(w.rows * w.cols), w.rows, w.cols);
      for (std::int64_t r = 0; r < w.rows; ++r) round_to_bf16(w.row(r), w.cols, w16.row(r));
      if (product_bf16(x16, w16, y)) return;
    }
  }
  sgemm(x, w, /*transpose_b=*/true, y);
}

void many_tokens(Matrix<const float> x, const WeightMatrix& weight, std::span<const float> bias, Matrix<float> y) {
  std::vector<std::uint16_t> rounded;
  Matrix<const std::uint16_t> x16;
  if constexpr (kX86) {
    if (compute_type == DType::bf16) {
      rounded.resize(x.rows * x.cols);
      x16 = {rounded.data(), x.rows, x.cols};
      parallel_for(x.rows, [&](std::int64_t t) { round_to_bf16(x.row(t), x.cols, rounded.data() + t * x.cols); });
    }
  }
  const std::int64_t tile_rows = weight.rows() >= kManyRows ? kTileRows : kSmallTileRows;
  const std::int64_t row_tiles = divide_up(weight.rows(), tile_rows);
  const std::int64_t token_tiles = std::max<std::int64_t>(x.rows / kTileTokens, 1);  // the last takes the remainder
  parallel_for(row_tiles * token_tiles, [&](std::int64_t tile) {
    static thread_local Scratch<float> scratch;
    const std::int64_t row = tile / token_tiles * tile_rows;
    const std::int64_t rows = std::min(tile_rows, weight.rows() - row);
    const std::int64_t token = tile % token_tiles * kTileTokens;
    const std::int64_t tokens = tile % token_tiles == token_tiles - 1 ? x.rows - token : kTileTokens;
    const Matrix<float> out = y.rows_slice(token, tokens).cols_slice(row, rows);
    tile_product(x.rows_slice(token, tokens), x16.data ? x16.rows_slice(token, tokens) : x16,
                 weight_rows(weight, row, rows, scratch), out);
    if (bias.empty()) return;
    for (std::int64_t t = 0; t < tokens; ++t) {
      float* line = out.row(t);
      for (std::int64_t r = 0; r < rows; ++r) line[r] += bias[row + r];
    }
  });
}

}  // namespace

bool set_compute(DType dtype) {
  if (dtype != DType::f32 && !(dtype == DType::bf16 && multiplies_bf16())) return false;
  compute_type = dtype;
  return true;
}

DType compute() { return compute_type; }

void linear(Matrix<const float> x, const WeightMatrix& weight, std::span<const float> bias, Matrix<float> y) {
  if (x.rows == 0) return;
  if (x.rows < kFewTokens)
    few_tokens(x, weight, bias, y);
  else
    many_tokens(x, weight, bias, y);
}

}  // namespace vernier::kernels
