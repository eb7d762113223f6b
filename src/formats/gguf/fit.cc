// Scales of sub-blocks by search. Every candidate rounds the values, refits the step (and offset) to the codes by
// weighted least squares, and is judged by the weighted squared error; the best of all stays.
#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/gguf/grid.h"

namespace vernier {
namespace {

// Tried multiples of the plain step: the lowest level's reach is shifted by i * shift, |i| <= shifts.
constexpr int shifts = 9;
constexpr double shift = 0.1;

// Without importance: large values matter more, unless there is but one level for them.
double weight_of(const BlockType& type, float x, double mean_square) {
  if (type.levels == 3) return 1;
  return type.affine ? std::sqrt(mean_square) + std::fabs(x) : double{x} * x;
}

// Values, their weights, and what is precomputed of them.
struct Samples {
  std::vector<double> x, w;
  double low = 0, high = 0, largest = 0;  // low <= 0 <= high; largest: signed, of largest magnitude
};

Samples make_samples(const BlockType& type, std::span<const float> values, std::span<const float> importance) {
  Samples s;
  double square = 0;
  for (float v : values) square += double{v} * v;
  const double mean_square = square / static_cast<double>(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = values[i];
    s.x.push_back(x);
    s.w.push_back(importance.empty() ? weight_of(type, values[i], mean_square)
                                     : double{importance[i]} * std::sqrt(mean_square + x * x));
    s.low = std::min(s.low, x);
    s.high = std::max(s.high, x);
  }
  s.largest = -s.low >= s.high ? s.low : s.high;
  return s;
}

double level_near(const BlockType& type, double t) {
  if (type.table) return type.level(nearest_code(type, static_cast<float>(t)));
  return std::clamp(std::rint(t), double(-type.zero), double(type.levels - 1 - type.zero));
}

// The least error of step * level over all steps is S2 - (S1 ^ 2) / S0: the candidate with the largest quotient wins.
double symmetric_step(const BlockType& type, const Samples& s) {
  double best = -1, step = 0;
  const double reach = std::fabs(type.level(0));
  const double unit = type.table ? reach / 16 : type.levels == 3 ? 1.0 : 1.0 * std::max(1.0, reach / 32);
  for (int end : {-1, 1})
    for (int i = -shifts; i <= shifts; ++i) {
      const double inverse = end * (reach + i * shift * unit) / s.largest;
      double product = 0, square = 0;
      for (std::size_t k = 0; k < s.x.size(); ++k) {
        const double level = level_near(type, s.x[k] * inverse);
        product += s.w[k] * s.x[k] * level;
        square += s.w[k] * level * level;
      }
      if (square > 0 && product * product > best * square) best = product * product / square, step = product / square;
    }
  return step;
}

// A power of two: of the three around the plain one, the least error.
double exponent_step(const BlockType& type, const Samples& s) {
  double least = std::numeric_limits<double>::infinity(), best = 0;
  const int plain = std::ilogb(s.largest) - 3;
  for (int e : {plain + 1, plain, plain - 1}) {
    const double step = std::ldexp(1.0, std::clamp(e, -128, 126));
    double error = 0;
    for (std::size_t k = 0; k < s.x.size(); ++k) {
      const double miss = s.x[k] - step * level_near(type, s.x[k] / step);
      error += s.w[k] * miss * miss;
    }
    if (error < least) least = error, best = step;
  }
  return best;
}

struct Line {
  double step, offset, error;  // offset >= 0
};

// The step and offset of least error for the codes that (inverse, low) gives.
Line fit_line(const BlockType& type, const Samples& s, double inverse, double low) {
  double sw = 0, sl = 0, sll = 0, sx = 0, sxl = 0;
  std::vector<double> level(s.x.size());
  for (std::size_t k = 0; k < s.x.size(); ++k) {
    level[k] = level_near(type, (s.x[k] - low) * inverse);
    const double wl = s.w[k] * level[k];
    sw += s.w[k], sl += wl, sll += wl * level[k], sx += s.w[k] * s.x[k], sxl += wl * s.x[k];
  }
  const double determinant = sw * sll - sl * sl;
  double step = 0, offset = -low;
  if (determinant > 0) {
    step = (sw * sxl - sx * sl) / determinant;
    offset = -(sll * sx - sl * sxl) / determinant;
  }
  if (determinant <= 0 || offset < 0) offset = 0, step = sll > 0 ? sxl / sll : 0;
  double error = 0;
  for (std::size_t k = 0; k < s.x.size(); ++k) {
    const double miss = s.x[k] - (step * level[k] - offset);
    error += s.w[k] * miss * miss;
  }
  return {step, offset, error};
}

StepOffset affine_step(const BlockType& type, const Samples& s) {
  const double steps = type.levels - 1, width = s.high - s.low;
  Line best{width / steps, -s.low, std::numeric_limits<double>::infinity()};
  for (int i = -shifts; i <= 2 * shifts; ++i) {
    double low = s.low, inverse = (steps + i * shift) / width;
    for (int pass = 0; pass < 2; ++pass) {
      const Line line = fit_line(type, s, inverse, low);
      if (!(line.step > 0)) break;
      if (line.error < best.error) best = line;
      low = -line.offset, inverse = 1 / line.step;
    }
  }
  return {static_cast<float>(best.step), static_cast<float>(best.offset)};
}

}  // namespace

StepOffset search_step(const BlockType& type, std::span<const float> values, std::span<const float> importance) {
  const Samples s = make_samples(type, values, importance);
  if (s.largest == 0) return {};
  if (type.affine) return affine_step(type, s);
  if (type.exponent) return {static_cast<float>(exponent_step(type, s)), 0};
  if (type.bits == 8) return {static_cast<float>(std::fabs(s.largest) / 127), 0};
  return {static_cast<float>(symmetric_step(type, s)), 0};
}

}  // namespace vernier
