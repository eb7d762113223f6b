#include <algorithm>
#include <cmath>
#include <limits>

#include "base/vectorize.h"
#include "formats/gguf/grid.h"
#include "formats/gguf/search.h"

#define VN_INLINE inline __attribute__((always_inline))

namespace vernier {
namespace {

// Tried multiples of the plain step: the lowest level's reach is shifted by i * shift, |i| <= shifts.
constexpr int shifts = 9;
constexpr float shift = 0.1f;
// Of lines with an offset: the highest level's reach is shifted by i * affine_shift, |i| <= affine_shifts.
constexpr int affine_shifts = 18;
constexpr float affine_shift = 0.05f;
constexpr int descents = 4;  // at most, from the best of them: codes, then the line for them

constexpr float least_weight = 1e-6f;  // of the largest: columns without importance still have a nearest value

// The whole number nearest to t in [low, high], even ones on ties: adding 1.5 * 2^23 leaves no place for a fraction.
VN_INLINE float nearest_whole(float t, float low, float high) {
  t = t > low ? t : low;  // also catches NaN
  t = t < high ? t : high;
  constexpr float shifter = 12582912.0f;
  return (t + shifter) - shifter;
}

VN_VECTORIZED void whole_sums(const SearchBatch& b, float low, float high, const float* inverse, const float* offset,
                              LevelSums& out) {
  Lanes l = {}, ll = {}, xl = {};
  for (std::int64_t k = 0; k < b.columns; ++k)
    for (int i = 0; i < search_lanes; ++i) {
      const float level = nearest_whole((b.x[k][i] + offset[i]) * inverse[i], low, high);
      const float weighted = b.w[k][i] * level;
      l[i] += weighted;
      ll[i] += weighted * level;
      xl[i] += weighted * b.x[k][i];
    }
  for (int i = 0; i < search_lanes; ++i) out.l[i] = l[i], out.ll[i] = ll[i], out.xl[i] = xl[i];
}

VN_VECTORIZED void table_sums(const SearchBatch& b, const float* nearest, const float* inverse, LevelSums& out) {
  constexpr float reach = SearchType::table_reach;
  Lanes ll = {}, xl = {};
  for (std::int64_t k = 0; k < b.columns; ++k)
    for (int i = 0; i < search_lanes; ++i) {
      float place = 2 * (b.x[k][i] * inverse[i] + reach);
      place = place > 0 ? place : 0;
      place = place < 4 * reach - 1 ? place : 4 * reach - 1;
      const float level = nearest[static_cast<int>(place)], weighted = b.w[k][i] * level;
      ll[i] += weighted * level;
      xl[i] += weighted * b.x[k][i];
    }
  for (int i = 0; i < search_lanes; ++i) out.l[i] = 0, out.ll[i] = ll[i], out.xl[i] = xl[i];
}

void sums_at(const SearchType& search, const SearchBatch& batch, const float* inverse, const float* offset,
             LevelSums& out) {
  if (search.type.table)
    table_sums(batch, search.nearest, inverse, out);
  else
    whole_sums(batch, search.low, search.high, inverse, offset, out);
}

// The least error of step * level over all steps is S2 - (S1 ^ 2) / S0: the candidate with the largest quotient wins.
void symmetric_lines(const SearchType& search, const SearchBatch& batch, SearchLines& best) {
  const BlockType& type = search.type;
  const float reach = std::fabs(type.level(0));
  const float unit = type.table ? reach / 16 : type.levels == 3 ? 1.0f : std::max(1.0f, reach / 32);
  Lanes product = {}, square, inverse, largest;
  const Lanes none = {};
  LevelSums sums;
  for (int i = 0; i < search_lanes; ++i) {
    square[i] = 1, best.step[i] = best.offset[i] = 0;
    largest[i] = -batch.low[i] >= batch.high[i] ? batch.low[i] : batch.high[i];
  }
  const auto keep_better = [&] {
    sums_at(search, batch, inverse, none, sums);
    bool moved = false;
    for (int i = 0; i < search_lanes; ++i) {
      if (!(sums.ll[i] > 0 && sums.xl[i] * sums.xl[i] * square[i] > product[i] * product[i] * sums.ll[i])) continue;
      product[i] = sums.xl[i], square[i] = sums.ll[i];
      best.step[i] = product[i] / square[i];
      moved = true;
    }
    return moved;
  };
  for (int end : {-1, 1})
    for (int s = -shifts; s <= shifts; ++s) {
      const float top = static_cast<float>(end) * (reach + static_cast<float>(s) * shift * unit);
      for (int i = 0; i < search_lanes; ++i) inverse[i] = largest[i] != 0 ? top / largest[i] : 0;
      keep_better();
    }
  for (int pass = 0; pass < descents; ++pass) {
    for (int i = 0; i < search_lanes; ++i) inverse[i] = best.step[i] != 0 ? 1 / best.step[i] : 0;
    if (!keep_better()) break;
  }
}

// A power of two: of the three around the plain one, the least error.
void exponent_lines(const SearchType& search, const SearchBatch& batch, SearchLines& best) {
  Lanes inverse, error;
  const Lanes none = {};
  LevelSums sums;
  for (int i = 0; i < search_lanes; ++i) {
    best.step[i] = best.offset[i] = 0;
    error[i] = std::numeric_limits<float>::infinity();
  }
  for (int e : {1, 0, -1}) {
    Lanes step;
    for (int i = 0; i < search_lanes; ++i) {
      const float largest = std::max(-batch.low[i], batch.high[i]);
      step[i] = largest > 0 ? std::ldexp(1.0f, std::ilogb(largest) - 3 + e) : 1;
      inverse[i] = 1 / step[i];
    }
    sums_at(search, batch, inverse, none, sums);
    for (int i = 0; i < search_lanes; ++i) {
      const float trial = step[i] * (step[i] * sums.ll[i] - 2 * sums.xl[i]);
      if (trial < error[i]) best.step[i] = step[i], error[i] = trial;
    }
  }
}

// The line of least error for the sums' codes, where it is better than the best.
VN_VECTORIZED void keep_better_lines(const SearchBatch& b, const LevelSums& s, SearchLines& best, double* error) {
  for (int i = 0; i < search_lanes; ++i) {
    const double w = b.sum_w[i], x = b.sum_x[i], l = s.l[i], ll = s.ll[i], xl = s.xl[i];
    const double determinant = w * ll - l * l;
    const double divisor = determinant > 0 ? determinant : 1;
    double step = (w * xl - x * l) / divisor, offset = (l * xl - ll * x) / divisor;
    const bool through_zero = !(determinant > 0) || offset < 0;
    offset = through_zero ? 0 : offset;
    step = through_zero ? xl / (ll > 0 ? ll : 1) : step;
    const double trial = step * (step * ll - 2 * xl) + offset * (offset * w + 2 * x - 2 * step * l);
    const bool better = step > 0 && trial < error[i];
    error[i] = better ? trial : error[i];
    best.step[i] = better ? static_cast<float>(step) : best.step[i];
    best.offset[i] = better ? static_cast<float>(offset) : best.offset[i];
  }
}

void affine_lines(const SearchType& search, const SearchBatch& batch, SearchLines& best) {
  Lanes inverse, offset, width;
  double error[search_lanes];
  LevelSums sums;
  for (int i = 0; i < search_lanes; ++i) {
    width[i] = batch.high[i] - batch.low[i];
    best.step[i] = width[i] / search.high;
    offset[i] = best.offset[i] = -batch.low[i];
    error[i] = std::numeric_limits<double>::infinity();
  }
  for (int s = -affine_shifts; s <= affine_shifts; ++s) {
    const float top = search.high + static_cast<float>(s) * affine_shift;
    for (int i = 0; i < search_lanes; ++i) inverse[i] = width[i] > 0 ? top / width[i] : 0;
    sums_at(search, batch, inverse, offset, sums);
    keep_better_lines(batch, sums, best, error);
  }
  for (int pass = 0; pass < descents; ++pass) {
    level_sums(search, batch, best, sums);
    keep_better_lines(batch, sums, best, error);
  }
}

// What mean square a type's weights take under importance, as a multiple.
struct Spread {
  float factor;
  bool row;  // of the whole row
};
Spread spread_of(const BlockType& type) {
  if (type.bits >= 6 || type.levels == 3 || type.exponent) return {0, false};
  if (type.joint()) return {type.bits == 2 ? 1.0f : 2.0f, false};
  return {type.table ? 2.0f : 1.0f, !type.table};
}

float power_of_two_near(float largest) {
  return largest > 0 ? std::ldexp(1.0f, std::clamp(-std::ilogb(largest), -126, 126)) : 1;
}

// One lane: x and w of a sub-block whose columns end at `width`. `square`: the mean square that weights take under
// importance, in x's units.
void load_lane(const BlockType& type, const float* values, const float* importance, std::int64_t width, double square,
               int lane, SearchBatch& b) {
  double own_square = 0;
  for (std::int64_t k = 0; k < width; ++k) {
    const float x = values[k] * b.unit[lane];
    b.x[k][lane] = x;
    own_square += double{x} * x;
  }
  const auto deviation =
      static_cast<float>(std::sqrt(own_square / static_cast<double>(std::max<std::int64_t>(1, width))));
  const auto spread = static_cast<float>(square);
  const bool plain = spread_of(type).factor == 0;
  for (std::int64_t k = 0; k < width; ++k) {
    const float x = b.x[k][lane];
    if (importance)
      b.w[k][lane] = importance[k] * (plain ? 1 : std::sqrt(spread + x * x));
    else
      b.w[k][lane] = type.levels == 3 ? 1 : type.affine ? deviation + std::fabs(x) : x * x;
  }
  for (std::int64_t k = width; k < b.columns; ++k) b.x[k][lane] = b.w[k][lane] = 0;
}

VN_VECTORIZED void sum_lanes(SearchBatch& b) {
  Lanes low = {}, high = {}, w = {}, x = {};
  for (std::int64_t k = 0; k < b.columns; ++k)
    for (int i = 0; i < search_lanes; ++i) {
      const float value = b.x[k][i];
      low[i] = value < low[i] ? value : low[i];
      high[i] = value > high[i] ? value : high[i];
      w[i] += b.w[k][i];
      x[i] += b.w[k][i] * value;
    }
  for (int i = 0; i < search_lanes; ++i) b.low[i] = low[i], b.high[i] = high[i], b.sum_w[i] = w[i], b.sum_x[i] = x[i];
}

}  // namespace

SearchType::SearchType(const BlockType& block_type)
    : type(block_type),
      low(static_cast<float>(-block_type.zero)),
      high(static_cast<float>(block_type.levels - 1 - block_type.zero)) {
  for (int i = 0; type.table && i < 4 * table_reach; ++i)
    nearest[i] = type.level(nearest_code(type, static_cast<float>(2 * i + 1) / 4 - table_reach));
}

void level_sums(const SearchType& search, const SearchBatch& batch, const SearchLines& lines, LevelSums& sums) {
  Lanes inverse;
  for (int i = 0; i < search_lanes; ++i) inverse[i] = lines.step[i] != 0 ? 1 / lines.step[i] : 0;
  sums_at(search, batch, inverse, lines.offset, sums);
}

void load_batch(const BlockType& type, std::span<const float> row, std::span<const float> importance, double row_square,
                std::int64_t first, int count, SearchBatch& b) {
  const auto cols = static_cast<std::int64_t>(row.size());
  const std::int64_t group = type.group;
  const int shared = type.joint() ? static_cast<int>(type.groups()) : 1;  // lanes with one unit
  const Spread spread = spread_of(type);
  b.columns = group;
  for (int lane = 0; lane < search_lanes; lane += shared) {
    const std::int64_t begin = std::min(cols, (first + lane) * group);
    const std::int64_t end = lane < count ? std::min(cols, begin + shared * group) : begin;
    float largest = 0, heaviest = 0;
    double square = 0;
    for (std::int64_t c = begin; c < end; ++c) {
      largest = std::max(largest, std::fabs(row[c]));
      if (!importance.empty()) heaviest = std::max(heaviest, importance[c]);
    }
    const float unit = power_of_two_near(largest);
    for (std::int64_t c = begin; c < end; ++c) square += double{row[c] * unit} * (row[c] * unit);
    square = spread.row ? row_square * unit * unit : end > begin ? square / static_cast<double>(end - begin) : 0;
    float weights[gguf_largest_block];
    if (!importance.empty())
      for (std::int64_t c = begin; c < end; ++c)
        weights[c - begin] = heaviest > 0 ? std::max(importance[c] / heaviest, least_weight) : 1;
    for (int i = lane; i < lane + shared; ++i) {
      const std::int64_t from = std::min(end, begin + (i - lane) * group), width = std::min(group, end - from);
      b.unit[i] = unit;
      load_lane(type, row.data() + from, importance.empty() ? nullptr : weights + (from - begin), width,
                spread.factor * square, i, b);
    }
  }
  sum_lanes(b);
}

void search_lines(const SearchType& search, const SearchBatch& batch, SearchLines& best) {
  const BlockType& type = search.type;
  if (type.affine) return affine_lines(search, batch, best);
  if (type.exponent) return exponent_lines(search, batch, best);
  if (type.bits < 8) return symmetric_lines(search, batch, best);
  for (int i = 0; i < search_lanes; ++i) {
    best.step[i] = std::max(-batch.low[i], batch.high[i]) / 127;
    best.offset[i] = 0;
  }
}

}  // namespace vernier
