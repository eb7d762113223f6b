#include "kernels/attention/paged.h"

#include <algorithm>
#include <vector>

#include "base/threads.h"
#include "kernels/attention/block.h"
#include "kernels/attention/softmax.h"
#include "kernels/kv/codes.h"
#include "kernels/kv/half.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kChunkPages = 16;
constexpr std::int64_t kFetchBytes = 8192;  // how far ahead of a block its successors are fetched
constexpr std::int64_t kTileRows = 64;      // query rows of one job: their sums stay in the first-level cache
constexpr std::int64_t kSplitRows = 16;     // tiles of at most as many rows (one token's anyway) share out their chunks

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return divide_up(n, multiple) * multiple; }

// Tokens [first, first + count) of a sequence's share of the batch with one kv head: a tile of count * group rows.
struct Tile {
  const KvSequence* sequence;
  std::int64_t kv_head, first, count;

  std::int64_t position() const { return sequence->start + first; }
};

// Chunks of keys that one worker visits. A tile whose chunks are shared out keeps their partial results.
struct Job {
  std::int64_t tile, first_chunk, last_chunk;
  std::int64_t partial;  // index of the first chunk's partial result; -1: the job finishes its tile
};

// Sums of one tile over some keys.
struct Partial {
  SoftmaxState* states;  // [rows]
  float* out;            // [rows, width]
};

class Attention {
 public:
  Attention(Matrix<const float> q, std::span<const KvSequence> sequences, const AttentionShape& shape,
            Matrix<float> out)
      : q_(q),
        shape_(shape),
        out_(out),
        layout_(sequences.front().pages.layout),
        kernels_(block_kernels(layout_.type())) {
    plan(sequences);
  }

  void run() {
    static thread_local Scratch<float> sums;
    static thread_local Scratch<SoftmaxState> states;
    float* all_sums = sums.get(partials_ * split_rows_ * width_);
    SoftmaxState* all_states = states.get(partials_ * split_rows_);
    const auto partial = [&](std::int64_t i) {
      return Partial{all_states + i * split_rows_, all_sums + i * split_rows_ * width_};
    };
    parallel_for(static_cast<std::int64_t>(jobs_.size()), [&](std::int64_t i) {
      const Job& job = jobs_[i];
      if (job.partial < 0)
        visit_and_finish(job);
      else
        visit_chunk(Rows(*this, tiles_[job.tile]), job.first_chunk, partial(job.partial));
    });
    parallel_for(static_cast<std::int64_t>(split_.size()), [&](std::int64_t i) {
      const Job& job = split_[i];
      const Partial total = partial(job.partial);
      const std::int64_t rows = tiles_[job.tile].count * group_;
      for (std::int64_t chunk = 1; chunk < job.last_chunk - job.first_chunk; ++chunk)
        merge_rows(total, partial(job.partial + chunk), rows);
      finish(tiles_[job.tile], total);
    });
  }

 private:
  // A tile's query rows in the form that the page type reads, token by token, heads of the group together.
  class Rows {
   public:
    Rows(const Attention& op, const Tile& tile) : tile_(tile), count_(tile.count * op.group_) {
      static thread_local Scratch<float> numbers;
      static thread_local Scratch<std::int8_t> codes;
      static thread_local Scratch<std::int32_t> code_sums;
      const std::int64_t dims = op.layout_.head_dim(), stride = round_up(dims, 32);
      float* x = numbers.get(count_ * (stride + 1));
      float* scales = x + count_ * stride;
      for (std::int64_t r = 0; r < count_; ++r) {
        const float* q = op.q_.row(tile.sequence->row + tile.first + r / op.group_) +
                         (tile.kv_head * op.group_ + r % op.group_) * dims;
        for (std::int64_t c = 0; c < dims; ++c) x[r * stride + c] = q[c] * op.shape_.scale;
        std::fill(x + r * stride + dims, x + (r + 1) * stride, 0.0f);
      }
      queries_ = {.floats = x, .stride = stride, .head_dim = dims};
      if (!op.integers()) return;
      std::int8_t* c8 = codes.get(count_ * stride);
      std::int32_t* sums = code_sums.get(count_);
      for (std::int64_t r = 0; r < count_; ++r) {
        const Extremes e = op.find_extremes_(x + r * stride, stride);
        scales[r] = std::max(e.high, -e.low) / 127;
        sums[r] = op.encode_(x + r * stride, stride, {0, inverse_or_zero(scales[r]), -127, 127}, c8 + r * stride);
      }
      queries_.codes = c8;
      queries_.code_scale = scales;
      queries_.code_sum = sums;
    }

    const Tile& tile() const { return tile_; }
    std::int64_t count() const { return count_; }
    const QueryRows& queries() const { return queries_; }

   private:
    const Tile& tile_;
    std::int64_t count_;
    QueryRows queries_;
  };

  bool integers() const { return layout_.type() == KvType::int8 || layout_.type() == KvType::int4; }

  // First and last position that a query at `position` sees.
  std::int64_t first_seen(std::int64_t position) const {
    return shape_.window > 0 ? std::max<std::int64_t>(position - shape_.window + 1, 0) : 0;
  }

  void plan(std::span<const KvSequence> sequences) {
    const std::int64_t tile_tokens = std::max<std::int64_t>(kTileRows / group_, 1);
    for (const KvSequence& sequence : sequences) {
      for (std::int64_t tile = divide_up(sequence.tokens, tile_tokens) - 1; tile >= 0; --tile) {  // the longest first
        const std::int64_t first = tile * tile_tokens, count = std::min(tile_tokens, sequence.tokens - first);
        for (std::int64_t head = 0; head < shape_.kv_heads; ++head) add({&sequence, head, first, count});
      }
    }
  }

  void add(const Tile& tile) {
    const auto index = static_cast<std::int64_t>(tiles_.size());
    tiles_.push_back(tile);
    constexpr std::int64_t kChunkTokens = kChunkPages * kPageTokens;
    const std::int64_t first = first_seen(tile.position()) / kChunkTokens;
    const std::int64_t last = divide_up(tile.position() + tile.count, kChunkTokens);
    if (tile.count * group_ > split_rows_ || last - first == 1) {
      jobs_.push_back({index, first, last, -1});
      return;
    }
    split_.push_back({index, first, last, partials_});
    for (std::int64_t chunk = first; chunk < last; ++chunk) jobs_.push_back({index, chunk, chunk + 1, partials_++});
  }

  void visit_and_finish(const Job& job) const {
    static thread_local Scratch<float> sums;
    static thread_local Scratch<SoftmaxState> states;
    const Rows rows(*this, tiles_[job.tile]);
    float* out = sums.get(2 * rows.count() * width_);
    SoftmaxState* state = states.get(2 * rows.count());
    const Partial total{state, out}, part{state + rows.count(), out + rows.count() * width_};
    visit_chunk(rows, job.first_chunk, total);
    for (std::int64_t chunk = job.first_chunk + 1; chunk < job.last_chunk; ++chunk) {
      visit_chunk(rows, chunk, part);
      merge_rows(total, part, rows.count());
    }
    finish(rows.tile(), total);
  }

  void visit_chunk(const Rows& rows, std::int64_t chunk, const Partial& partial) const {
    std::fill_n(partial.states, rows.count(), SoftmaxState());
    std::fill_n(partial.out, rows.count() * width_, 0.0f);
    const Tile& tile = rows.tile();
    const std::int64_t end = tile.position() + tile.count;
    const std::int64_t first = std::max(chunk * kChunkPages, first_seen(tile.position()) / kPageTokens);
    const std::int64_t last = std::min((chunk + 1) * kChunkPages, divide_up(end, kPageTokens));
    const std::int64_t ahead = divide_up(kFetchBytes, layout_.block_bytes());
    for (std::int64_t page = first; page < last; ++page) {
      const std::byte* next =
          page + ahead < last ? tile.sequence->pages.block(page + ahead, tile.kv_head).keys : nullptr;
      visit_page(rows, page, next, partial);
    }
  }

  // Rows are in order of position: those that see some of the page are neighbours.
  void visit_page(const Rows& rows, std::int64_t page, const std::byte* next, const Partial& partial) const {
    static thread_local Scratch<float> scratch;
    float* scores = scratch.get(rows.count() * (kPageTokens + 1) + 4 * kPageTokens);
    float* params = scores + rows.count() * kPageTokens;
    float* offsets = params + 4 * kPageTokens;

    const Tile& tile = rows.tile();
    const std::int64_t begin = page * kPageTokens, position = tile.position();
    const std::int64_t first_token = std::max<std::int64_t>(begin - position, 0);
    std::int64_t last_token = tile.count;
    if (shape_.window > 0) last_token = std::min(last_token, begin + kPageTokens - 1 + shape_.window - position);
    if (first_token >= last_token) return;

    const KvBlock block = tile.sequence->pages.block(page, tile.kv_head);
    BlockView view{block.keys, block.values, layout_.panel_bytes(), layout_.value_row_bytes()};
    view.next = next;
    view.block_bytes = layout_.block_bytes();
    ValueParams value;
    const auto widened = [&](const std::uint16_t* halves) -> const float* {
      if (!halves) return nullptr;
      float* out = params;
      params += kPageTokens;
      widen_(halves, kPageTokens, out);
      return out;
    };
    view.key_scale = widened(block.key_scale);
    view.key_minimum = widened(block.key_minimum);
    value.scale = widened(block.value_scale);
    value.minimum = widened(block.value_minimum);

    const std::int64_t first = first_token * group_, last = last_token * group_;
    kernels_.score(rows.queries(), first, last, view, scores);
    for (std::int64_t r = first; r < last; ++r) {
      const std::int64_t at = position + r / group_;
      offsets[r] =
          absorb_(scores + r * kPageTokens, std::max<std::int64_t>(first_seen(at) - begin, 0),
                  std::min(at + 1 - begin, kPageTokens), value, partial.states[r], partial.out + r * width_, width_);
    }
    const std::int64_t tokens = std::min(position + last_token - begin, kPageTokens);
    kernels_.weigh(scores, offsets, first, last, view, tokens, partial.out, width_);
  }

  void merge_rows(const Partial& total, const Partial& part, std::int64_t rows) const {
    for (std::int64_t r = 0; r < rows; ++r)
      merge(total.states[r], total.out + r * width_, part.states[r], part.out + r * width_, width_);
  }

  void finish(const Tile& tile, const Partial& total) const {
    const std::int64_t dims = layout_.head_dim();
    for (std::int64_t r = 0; r < tile.count * group_; ++r) {
      float* out = out_.row(tile.sequence->row + tile.first + r / group_) + (tile.kv_head * group_ + r % group_) * dims;
      const float factor = 1 / total.states[r].sum;
      for (std::int64_t c = 0; c < dims; ++c) out[c] = total.out[r * width_ + c] * factor;
    }
  }

  const Matrix<const float> q_;
  const AttentionShape& shape_;
  const Matrix<float> out_;
  const KvLayout& layout_;
  const BlockKernels kernels_;
  const Absorb absorb_ = absorb_kernel();
  const FindExtremes find_extremes_ = find_extremes_kernel();
  const Encode encode_ = encode_kernel();
  const Widen widen_ = widen_kernel();
  const std::int64_t group_ = shape_.heads / shape_.kv_heads;  // query heads that share a kv head
  const std::int64_t width_ = round_up(layout_.head_dim(), 16);
  const std::int64_t split_rows_ = std::max(kSplitRows, group_);

  std::vector<Tile> tiles_;
  std::vector<Job> jobs_, split_;  // split_: whole tiles whose chunks are jobs of their own
  std::int64_t partials_ = 0;
};

}  // namespace

void paged_attention(Matrix<const float> q, std::span<const KvSequence> sequences, const AttentionShape& shape,
                     Matrix<float> out) {
  if (q.rows > 0) Attention(q, sequences, shape, out).run();
}

}  // namespace vernier::kernels
