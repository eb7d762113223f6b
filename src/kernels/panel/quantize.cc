#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/threads.h"
#include "kernels/exp/exp.h"
#include "kernels/isa.h"
#include "kernels/ops.h"
#include "kernels/panel/layout.h"
#include "kernels/panel/rows.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kGrainValues = 1 << 14;  // of one worker's piece
constexpr std::int64_t kTileTokens = 16, kTileCols = 64;
constexpr float kTop = 127;

// The bodies below are compiled once per instruction set; all give the same bits.
VN_INLINE float absmax(const float* x, std::int64_t n) {
  constexpr int kLanes = 16;
  float most[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float v = std::fabs(x[i + lane]);
      most[lane] = v > most[lane] ? v : most[lane];
    }
  }
  for (; i < n; ++i) most[0] = std::max(most[0], std::fabs(x[i]));
  return *std::max_element(most, most + kLanes);
}

VN_INLINE void to_codes(const float* x, std::int64_t n, float scale, std::int8_t* codes) {
  constexpr float kRound = 0x1.8p23f;  // |v| < 2^22: adding and subtracting it rounds to nearest, ties to even
  for (std::int64_t i = 0; i < n; ++i) {
    float v = x[i] / scale;
    v = v > -kTop ? v : -kTop;  // not a number becomes -127
    v = v < kTop ? v : kTop;
    codes[i] = static_cast<std::int8_t>(static_cast<std::int32_t>((v + kRound) - kRound));
  }
}

VN_INLINE std::int32_t sum(const std::int8_t* codes, std::int64_t n) {
  std::int32_t s = 0;
  for (std::int64_t i = 0; i < n; ++i) s += codes[i];
  return s;
}

struct Row {
  const float* x;
  std::int64_t cols, group;
  bool per_group;
  std::optional<float> static_scale;
  std::int8_t* codes;  // [cols]
  float* scales;
  std::int32_t* sums;  // [groups]
};

VN_INLINE void quantize(const Row& row) {
  const std::int64_t span = row.per_group ? row.group : row.cols;
  for (std::int64_t begin = 0, i = 0; begin < row.cols; begin += span, ++i) {
    const std::int64_t n = std::min(span, row.cols - begin);
    float scale = row.static_scale ? *row.static_scale : absmax(row.x + begin, n) / kTop;
    if (!(scale > 0)) scale = 0;
    row.scales[i] = scale;
    if (scale > 0)
      to_codes(row.x + begin, n, scale, row.codes + begin);
    else
      std::memset(row.codes + begin, 0, n);
  }
  for (std::int64_t begin = 0, g = 0; begin < row.cols; begin += row.group, ++g)
    row.sums[g] = sum(row.codes + begin, std::min(row.group, row.cols - begin));
}

void quantize_scalar(const Row& row) { quantize(row); }
VN_TARGET_AVX2 void quantize_avx2(const Row& row) { quantize(row); }
VN_TARGET_AVX512 void quantize_avx512(const Row& row) { quantize(row); }

}  // namespace

void QuantizedRows::reset(std::int64_t tokens, std::int64_t cols, const RowsFormat& format) {
  isa_ = best_isa();
  if (isa_ == Isa::amx && tokens <= kTileTokens) isa_ = Isa::avx512_vnni;
  if (isa_ == Isa::avx512) isa_ = Isa::avx2;
  block_tokens_ = isa_ == Isa::amx ? kTileTokens : isa_ == Isa::scalar || tokens <= 1 ? 1 : 4;
  unit_cols_ = isa_ == Isa::amx ? kTileCols : 4;
  tokens_ = tokens;
  cols_ = cols;
  format_ = format;
  groups_ = (cols + format.group - 1) / format.group;
  pairs_ = (groups_ + 1) / 2;
  padded_cols_ = round_up(groups_ * format.group, kTileCols);
  scales_per_token_ = format.per_group ? groups_ : 1;

  const std::int64_t padded_tokens = round_up(tokens, block_tokens_);
  codes_ = code_memory_.get(padded_tokens * padded_cols_);
  sum_pairs_ = sum_memory_.get(padded_tokens * pairs_);
  totals_ = total_memory_.get(padded_tokens);
  scales_ = scale_memory_.get(padded_tokens * scales_per_token_);
  for (std::int64_t t = tokens; t < padded_tokens; ++t) {
    totals_[t] = 0;
    std::fill_n(scales_ + t * scales_per_token_, scales_per_token_, 0.0f);
  }
  if (padded_tokens != tokens) {
    std::memset(codes_ + (padded_tokens - block_tokens_) * padded_cols_, 0, block_bytes());
    std::fill_n(sum_pairs_ + (padded_tokens - block_tokens_) * pairs_, block_tokens_ * pairs_, 0);
  }
}

void QuantizedRows::quantize_row(std::int64_t token, const float* x) {
  static thread_local Scratch<std::int8_t> line_scratch;
  static thread_local Scratch<std::int32_t> sum_scratch;
  const bool in_place = block_tokens_ == 1;
  std::int8_t* line = in_place ? codes_ + token * padded_cols_ : line_scratch.get(padded_cols_);
  std::int32_t* sums = sum_scratch.get(2 * pairs_);
  std::memset(line + cols_, 0, padded_cols_ - cols_);
  sums[2 * pairs_ - 1] = 0;
  pick<quantize_scalar, quantize_avx2, quantize_avx512>()({x, cols_, format_.group, format_.per_group,
                                                           format_.static_scale, line,
                                                           scales_ + token * scales_per_token_, sums});
  const std::int64_t block = token / block_tokens_, slot = token % block_tokens_;
  std::int32_t total = 0;
  for (std::int64_t p = 0; p < pairs_; ++p) {
    const std::int32_t even = sums[2 * p], odd = sums[2 * p + 1];
    total += even + odd;
    sum_pairs_[(block * pairs_ + p) * block_tokens_ + slot] =
        (even & 0xFFFF) | static_cast<std::int32_t>(static_cast<std::uint32_t>(odd) << 16);
  }
  totals_[token] = total;
  if (in_place) return;
  std::int8_t* to = codes_ + block * block_bytes() + slot * unit_cols_;
  const std::int64_t stride = block_tokens_ * unit_cols_;
  if (unit_cols_ == 4) {
    for (std::int64_t k = 0; k < padded_cols_; k += 4, to += stride) std::memcpy(to, line + k, 4);
  } else {
    for (std::int64_t k = 0; k < padded_cols_; k += kTileCols, to += stride) std::memcpy(to, line + k, kTileCols);
  }
}

namespace {

// body(t) for every token; on the calling thread where there is too little to wake others for.
template <class Body>
void for_tokens(std::int64_t tokens, std::int64_t cols, Body body) {
  const std::int64_t grain = std::max<std::int64_t>(kGrainValues / std::max<std::int64_t>(cols, 1), 1);
  const auto some = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) body(t);
  };
  if (tokens <= grain) return some(0, tokens);
  parallel_ranges(tokens, grain, some);
}

float* float_row(std::int64_t cols) {
  static thread_local Scratch<float> scratch;
  return scratch.get(cols);
}

}  // namespace

void quantize_rows(Matrix<const float> x, const RowsFormat& format, QuantizedRows& out) {
  out.reset(x.rows, x.cols, format);
  for_tokens(x.rows, x.cols, [&](std::int64_t t) { out.quantize_row(t, x.row(t)); });
}

void quantize_norm_rows(Matrix<const float> x, std::span<const float> weight, float eps, float unit_offset,
                        const RowsFormat& format, QuantizedRows& out) {
  out.reset(x.rows, x.cols, format);
  for_tokens(x.rows, x.cols, [&](std::int64_t t) {
    float* row = float_row(x.cols);
    rms_norm_row(x.row(t), x.cols, weight, eps, unit_offset, row);
    out.quantize_row(t, row);
  });
}

void quantize_product_rows(Matrix<const float> gate, Matrix<const float> up, bool silu, const RowsFormat& format,
                           QuantizedRows& out) {
  out.reset(gate.rows, gate.cols, format);
  for_tokens(gate.rows, gate.cols, [&](std::int64_t t) {
    float* row = float_row(gate.cols);
    std::copy_n(gate.row(t), gate.cols, row);
    if (silu) silu_kernel()(row, gate.cols);
    const float* factor = up.row(t);
    for (std::int64_t c = 0; c < gate.cols; ++c) row[c] *= factor[c];
    out.quantize_row(t, row);
  });
}

}  // namespace vernier::kernels
