// The few bits of sub-blocks' scales: a super-block's d and dmin, then the integers beside them, by turns with the
// codes. For fixed codes a sub-block's error is a quadratic in its step and offset, whose coefficients are its
// LevelSums.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/vectorize.h"
#include "formats/gguf/grid.h"
#include "formats/gguf/search.h"

namespace vernier {
namespace {

// Tried d: those that take the largest step to a scale of `limit` + nearest_top - i * top_step. The same for dmin.
constexpr int tops = 16;
constexpr float nearest_top = 0.45f, top_step = 0.25f;
constexpr int descents = 4;  // at most

struct Scales {
  Lanes d, dmin, scale, min;
};

struct Choice {
  Lanes scale, min;
  double error[search_lanes];
};

// The best whole numbers under d and dmin: of the two scales around the free step's, each with the minimum that suits
// it, the better.
VN_VECTORIZED void choose_affine(const SearchBatch& b, const LevelSums& s, const Lanes& d, const Lanes& dmin,
                                 float high, Choice& out) {
  for (int i = 0; i < search_lanes; ++i) {
    const float w = b.sum_w[i], x = b.sum_x[i], l = s.l[i], ll = s.ll[i], xl = s.xl[i];
    const float determinant = w * ll - l * l;
    const float free_step = determinant > 0 ? (w * xl - x * l) / determinant : ll > 0 ? xl / ll : 0;
    float base = free_step / (d[i] > 0 ? d[i] : 1);
    base = base > 0 ? base : 0;
    base = base < high ? base : high;
    base = static_cast<float>(static_cast<int>(base));
    const float per_min = dmin[i] > 0 && w > 0 ? 1 / (w * dmin[i]) : 0;
    float least = std::numeric_limits<float>::infinity(), best_scale = 0, best_min = 0;
    for (int up = 0; up < 2; ++up) {
      float scale = base + static_cast<float>(up);
      scale = scale <= high ? scale : high;
      const float step = d[i] * scale;
      float min = (step * l - x) * per_min;
      min = min > 0 ? min : 0;
      min = min < high ? min : high;
      min = static_cast<float>(static_cast<int>(min + 0.5f));
      const float offset = dmin[i] * min;
      const float error = step * (step * ll - 2 * xl) + offset * (offset * w + 2 * x - 2 * step * l);
      const bool better = error < least;
      least = better ? error : least;
      best_scale = better ? scale : best_scale;
      best_min = better ? min : best_min;
    }
    out.error[i] = least;
    out.scale[i] = best_scale;
    out.min[i] = best_min;
  }
}

void choose_symmetric(const LevelSums& s, const Lanes& d, float low, float high, Choice& out) {
  for (int i = 0; i < search_lanes; ++i) {
    const double ll = s.ll[i], xl = s.xl[i];
    const double free_scale = ll > 0 && d[i] != 0 ? xl / (ll * d[i]) : 0;
    const double scale = std::clamp(std::rint(free_scale), double{low}, double{high});
    const double step = d[i] * scale;
    out.scale[i] = static_cast<float>(scale);
    out.min[i] = 1;
    out.error[i] = step * (step * ll - 2 * xl);
  }
}

class Settler {
 public:
  Settler(const SearchType& search, const SearchBatch& batch, int groups)
      : search_(search), type_(search.type), batch_(batch), groups_(groups) {
    for (int i = 0; i < search_lanes; ++i) best_.d[i] = best_.dmin[i] = best_.scale[i] = best_.min[i] = 0;
    std::fill_n(error_, search_lanes, std::numeric_limits<double>::infinity());
  }

  const Scales& run(const SearchLines& lines);

 private:
  void scan_d(const Lanes& step, const Lanes& dmin);
  void scan_dmin(const Lanes& offset);
  bool descend();
  void refit(Scales& trial) const;
  bool keep_better(const Lanes& d, const Lanes& dmin);
  double error_of(int i) const;
  float half(float value, int lane) const { return stored_half(value / batch_.unit[lane]) * batch_.unit[lane]; }
  float half_or_zero(float value, int lane) const {
    return stored_half_or_zero(value / batch_.unit[lane]) * batch_.unit[lane];
  }

  const SearchType& search_;
  const BlockType& type_;
  const SearchBatch& batch_;
  int groups_;
  LevelSums sums_;
  Scales best_;
  double error_[search_lanes];  // of a super-block, less the sum of w x^2; in its first lane
};

// Keeps, super-block by super-block, d and dmin with the integers that suit them where that lowers the error.
bool Settler::keep_better(const Lanes& d, const Lanes& dmin) {
  Choice choice;
  if (type_.affine)
    choose_affine(batch_, sums_, d, dmin, static_cast<float>(type_.scale_high), choice);
  else
    choose_symmetric(sums_, d, static_cast<float>(type_.scale_low), static_cast<float>(type_.scale_high), choice);
  bool moved = false;
  for (int first = 0; first < search_lanes; first += groups_) {
    double error = 0;
    for (int i = first; i < first + groups_; ++i) error += choice.error[i];
    if (!(error < error_[first])) continue;
    moved = true;
    error_[first] = error;
    for (int i = first; i < first + groups_; ++i) {
      best_.d[i] = d[i], best_.dmin[i] = dmin[i];
      best_.scale[i] = choice.scale[i], best_.min[i] = choice.min[i];
    }
  }
  return moved;
}

// `step`: the signed one of largest magnitude in each lane's super-block. Signed scales reach further below zero, so
// either end may take it.
void Settler::scan_d(const Lanes& step, const Lanes& dmin) {
  const auto scan = [&](float limit, float sign) {
    for (int t = 0; t < tops; ++t) {
      const float top = sign * (limit + nearest_top - static_cast<float>(t) * top_step);
      Lanes d;
      for (int i = 0; i < search_lanes; ++i) d[i] = half(step[i] / top, i);
      keep_better(d, dmin);
    }
  };
  if (!type_.affine) scan(static_cast<float>(-type_.scale_low), -1);
  scan(static_cast<float>(type_.scale_high), 1);
}

void Settler::scan_dmin(const Lanes& offset) {
  Lanes d;
  std::copy_n(best_.d, search_lanes, d);
  for (int t = 0; t < tops; ++t) {
    const float top = static_cast<float>(type_.scale_high) + nearest_top - static_cast<float>(t) * top_step;
    Lanes dmin;
    for (int i = 0; i < search_lanes; ++i) dmin[i] = half_or_zero(offset[i] / top, i);
    keep_better(d, dmin);
  }
}

// d and dmin of least error for the integers and codes as they are.
void Settler::refit(Scales& trial) const {
  for (int first = 0; first < search_lanes; first += groups_) {
    double dd = 0, dm = 0, mm = 0, xd = 0, xm = 0;
    for (int i = first; i < first + groups_; ++i) {
      const double scale = trial.scale[i], min = type_.affine ? trial.min[i] : 0;
      dd += scale * scale * sums_.ll[i];
      dm += scale * min * sums_.l[i];
      mm += min * min * batch_.sum_w[i];
      xd += scale * sums_.xl[i];
      xm += min * batch_.sum_x[i];
    }
    const double determinant = dd * mm - dm * dm;
    double d = dd > 0 ? xd / dd : 0, dmin = 0;
    if (determinant > 1e-9 * dd * mm) {
      d = (xd * mm - xm * dm) / determinant;
      dmin = (xd * dm - xm * dd) / determinant;
    }
    for (int i = first; i < first + groups_; ++i) {
      trial.d[i] = half(static_cast<float>(d), i);
      trial.dmin[i] = type_.affine ? half_or_zero(static_cast<float>(std::max(dmin, 0.0)), i) : 0;
    }
  }
}

double Settler::error_of(int i) const {
  const double step = best_.d[i] * best_.scale[i], offset = type_.affine ? best_.dmin[i] * best_.min[i] : 0;
  return step * (step * sums_.ll[i] - 2 * sums_.xl[i]) +
         offset * (offset * batch_.sum_w[i] + 2 * batch_.sum_x[i] - 2 * step * sums_.l[i]);
}

// New codes for the scales, then new scales for the codes; false when they have settled.
bool Settler::descend() {
  SearchLines lines;
  for (int i = 0; i < search_lanes; ++i) {
    lines.step[i] = best_.d[i] * best_.scale[i];
    lines.offset[i] = type_.affine ? best_.dmin[i] * best_.min[i] : 0;
  }
  level_sums(search_, batch_, lines, sums_);
  for (int first = 0; first < search_lanes; first += groups_) {
    error_[first] = 0;
    for (int i = first; i < first + groups_; ++i) error_[first] += error_of(i);
  }
  Scales trial = best_;
  bool moved = keep_better(trial.d, trial.dmin);
  trial = best_;
  refit(trial);
  moved |= keep_better(trial.d, trial.dmin);
  return moved;
}

const Scales& Settler::run(const SearchLines& lines) {
  level_sums(search_, batch_, lines, sums_);
  Lanes step, offset, dmin;
  for (int first = 0; first < search_lanes; first += groups_) {
    float largest = 0, most = 0;
    for (int i = first; i < first + groups_; ++i) {
      if (std::fabs(lines.step[i]) > std::fabs(largest)) largest = lines.step[i];
      most = std::max(most, lines.offset[i]);
    }
    for (int i = first; i < first + groups_; ++i) {
      step[i] = largest, offset[i] = most;
      dmin[i] = type_.affine ? half_or_zero(most / static_cast<float>(type_.scale_high), i) : 0;
    }
  }
  scan_d(step, dmin);
  if (type_.affine) {
    scan_dmin(offset);
    std::copy_n(best_.dmin, search_lanes, dmin);
    scan_d(step, dmin);
  }
  for (int pass = 0; pass < descents && descend(); ++pass) {
  }
  return best_;
}

}  // namespace

void settle_lines(const SearchType& search, const SearchBatch& batch, const SearchLines& lines, int groups, int count,
                  float* params) {
  Settler settler(search, batch, groups);
  const Scales& scales = settler.run(lines);
  for (int i = 0; i < count; ++i) {
    float* const p = params + i * block_params;
    p[block_d] = scales.d[i] / batch.unit[i];
    p[block_dmin] = search.type.affine ? scales.dmin[i] / batch.unit[i] : 0;
    p[block_scale] = scales.scale[i];
    p[block_min] = scales.min[i];
  }
}

}  // namespace vernier
