// Attention with the online softmax (Milakov and Gimelshein 2018; tiled as in FlashAttention, Dao et al. 2022): keys
// are visited a tile at a time, so that a worker holds one [kQueryTile, kKeyTile] tile of scores whatever the length.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/threads.h"
#include "kernels/exp/exp.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kQueryTile = 128;
constexpr std::int64_t kKeyTile = 256;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The softmax of one query row so far: largest score, and the sum of exp(score - maximum).
struct Running {
  float maximum = -kInfinity;
  float sum = 0;
};

// Keys [first, last) that a query at `position` sees.
struct Visible {
  std::int64_t first, last;
};
Visible visible(std::int64_t position, std::int64_t window) {
  return {window > 0 ? std::max<std::int64_t>(position - window + 1, 0) : 0, position + 1};
}

class HeadTile {
 public:
  // Queries [n, head_dim] at positions `position` .. of one head, its keys and values, and where the result goes.
  HeadTile(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, std::int64_t position,
           const AttentionShape& shape, Matrix<float> out)
      : q_(q), k_(k), v_(v), position_(position), shape_(shape), out_(out) {}

  void run() {
    static thread_local Scratch<float> scratch;
    float* memory = scratch.get(kQueryTile * kKeyTile);
    const std::int64_t end = position_ + q_.rows;
    // Tiles start at multiples of kKeyTile, so that a key's tile does not depend on the query tile.
    const std::int64_t begin = visible(position_, shape_.window).first / kKeyTile * kKeyTile;
    for (std::int64_t r = 0; r < q_.rows; ++r) std::fill_n(out_.row(r), out_.cols, 0.0f);
    for (std::int64_t key = begin; key < end; key += kKeyTile) {
      const std::int64_t keys = std::min(kKeyTile, end - key);
      const Matrix<float> scores(memory, q_.rows, keys);
      sgemm(q_, k_.rows_slice(key, keys), /*transpose_b=*/true, scores, shape_.scale);
      for (std::int64_t r = 0; r < q_.rows; ++r) absorb(r, key, scores);
      sgemm(scores, v_.rows_slice(key, keys), /*transpose_b=*/false, out_, 1, /*accumulate=*/true);
    }
    for (std::int64_t r = 0; r < q_.rows; ++r) scale_row(r, 1.0f / running_[r].sum);
  }

 private:
  // Turns row r of the scores into weights relative to the running maximum, 0 where the key is hidden.
  void absorb(std::int64_t r, std::int64_t key, Matrix<float> scores) {
    const Visible seen = visible(position_ + r, shape_.window);
    const std::int64_t first = std::clamp<std::int64_t>(seen.first - key, 0, scores.cols);
    const std::int64_t last = std::clamp<std::int64_t>(seen.last - key, first, scores.cols);
    float* row = scores.row(r);
    std::fill(row, row + first, 0.0f);
    std::fill(row + last, row + scores.cols, 0.0f);
    if (first == last) return;
    Running& running = running_[r];
    const float maximum = std::max(running.maximum, maximum_(row + first, last - first));
    const float sum = exp_sum_(row + first, last - first, maximum);
    if (running.sum > 0 && maximum > running.maximum) {
      const float shrink = std::exp(running.maximum - maximum);
      running.sum *= shrink;
      scale_row(r, shrink);
    }
    running.maximum = maximum;
    running.sum += sum;
  }

  void scale_row(std::int64_t r, float factor) {
    float* row = out_.row(r);
    for (std::int64_t c = 0; c < out_.cols; ++c) row[c] *= factor;
  }

  Matrix<const float> q_, k_, v_;
  std::int64_t position_;
  const AttentionShape& shape_;
  Matrix<float> out_;
  const Maximum maximum_ = maximum_kernel();
  const ExpSum exp_sum_ = exp_sum_kernel();
  Running running_[kQueryTile];
};

}  // namespace

void attention(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const AttentionShape& shape,
               Matrix<float> out) {
  const std::int64_t tiles = (q.rows + kQueryTile - 1) / kQueryTile;
  const std::int64_t group = shape.heads / shape.kv_heads;  // query heads that share a kv head
  const std::int64_t width = shape.head_dim;
  parallel_for(shape.heads * tiles, [&](std::int64_t i) {
    const std::int64_t head = i % shape.heads, kv_head = head / group;
    const std::int64_t first = (tiles - 1 - i / shape.heads) * kQueryTile;  // the longest rows first
    const std::int64_t count = std::min(kQueryTile, q.rows - first);
    HeadTile(q.rows_slice(first, count).cols_slice(head * width, width), k.cols_slice(kv_head * width, width),
             v.cols_slice(kv_head * width, width), shape.start + first, shape,
             out.rows_slice(first, count).cols_slice(head * width, width))
        .run();
  });
}

}  // namespace vernier::kernels
