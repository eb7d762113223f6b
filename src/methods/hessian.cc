#include "methods/hessian.h"

#include <algorithm>
#include <cassert>

#include "base/threads.h"
#include "kernels/ops.h"

namespace vernier {
namespace {

// Tokens summed in one product. Sums of chunks are added in float: at 512 tokens a chunk, 2^18 tokens are 512
// additions, whose rounding stays near 1e-6 of the diagonal, far below any damping; compensation would double the
// memory.
constexpr std::int64_t chunk_tokens = 512;

// The lower triangle is cut into tiles of this many rows by `strip_columns` columns, each summed by one worker.
constexpr std::int64_t tile_rows = 256, strip_columns = 1024;

constexpr std::int64_t mirror_tile = 64;  // two such tiles fit the L1 cache

struct Tile {
  std::int64_t row, rows, column, columns;
};

// Longest rows first, so that the last tiles handed out are short.
std::vector<Tile> lower_tiles(std::int64_t n) {
  std::vector<Tile> tiles;
  for (std::int64_t row = (n - 1) / tile_rows * tile_rows; row >= 0; row -= tile_rows) {
    const std::int64_t rows = std::min(tile_rows, n - row), end = row + rows;
    for (std::int64_t column = 0; column < end; column += strip_columns)
      tiles.push_back({row, rows, column, std::min(strip_columns, end - column)});
  }
  return tiles;
}

void add_chunk(Matrix<const float> x, Matrix<float> sum) {
  const std::vector<Tile> tiles = lower_tiles(sum.cols);
  parallel_for(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t t) {
    const Tile& tile = tiles[t];
    kernels::sgemm_at(x.cols_slice(tile.row, tile.rows), x.cols_slice(tile.column, tile.columns),
                      sum.rows_slice(tile.row, tile.rows).cols_slice(tile.column, tile.columns), 1, true);
  });
}

}  // namespace

Hessian::Hessian(std::int64_t columns) : columns_(columns), sum_(columns * columns) {}

void Hessian::add(Matrix<const float> x) {
  assert(x.cols == columns_);
  tokens_ += x.rows;
  for (std::int64_t row = 0; row < x.rows;) {
    if (buffered_ == 0 && x.rows - row >= chunk_tokens) {
      add_chunk(x.rows_slice(row, chunk_tokens), matrix());
      row += chunk_tokens;
      continue;
    }
    if (chunk_.empty()) chunk_.resize(chunk_tokens * columns_);
    const std::int64_t count = std::min(chunk_tokens - buffered_, x.rows - row);
    for (std::int64_t i = 0; i < count; ++i)
      std::copy_n(x.row(row + i), columns_, chunk_.data() + (buffered_ + i) * columns_);
    buffered_ += count;
    row += count;
    if (buffered_ == chunk_tokens) flush();
  }
}

void Hessian::flush() {
  if (buffered_ > 0) add_chunk({chunk_.data(), buffered_, columns_}, matrix());
  buffered_ = 0;
}

void Hessian::finish() {
  flush();
  chunk_ = {};
  const float factor = tokens_ > 0 ? static_cast<float>(2.0 / static_cast<double>(tokens_)) : 0.0f;
  const Matrix<float> h = matrix();
  const std::int64_t tiles = (columns_ + mirror_tile - 1) / mirror_tile;
  // Worker `i` scales tiles (i, j <= i) and writes their mirror images, which nobody else touches.
  parallel_for(tiles, [&](std::int64_t i) {
    const std::int64_t r0 = i * mirror_tile, r1 = std::min(columns_, r0 + mirror_tile);
    for (std::int64_t c0 = 0; c0 <= r0; c0 += mirror_tile)
      for (std::int64_t r = r0; r < r1; ++r)
        for (std::int64_t c = c0; c < std::min(c0 + mirror_tile, r + 1); ++c) {
          const float value = h(r, c) * factor;
          h(r, c) = value;
          h(c, r) = value;
        }
  });
}

std::int64_t Hessian::bytes(std::int64_t columns) {
  return static_cast<std::int64_t>(sizeof(float)) * columns * (columns + chunk_tokens);
}

}  // namespace vernier
