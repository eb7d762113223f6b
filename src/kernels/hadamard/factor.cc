// Hadamard matrices of orders that are no power of two, built rather than listed.
#include <array>
#include <string_view>

#include "kernels/hadamard/hadamard.h"

namespace vernier::kernels {
namespace {

using Rows = std::vector<float>;  // [order, order]

bool is_prime(std::int64_t n) {
  if (n < 2) return false;
  for (std::int64_t d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return true;
}

// chi(i - j mod q): 1 where the difference is a square, -1 where it is not, 0 on the diagonal.
class QuadraticCharacter {
 public:
  explicit QuadraticCharacter(std::int64_t q) : q_(q), chi_(q, -1.0f) {
    chi_[0] = 0;
    for (std::int64_t i = 1; i < q; ++i) chi_[i * i % q] = 1;
  }
  float operator()(std::int64_t i, std::int64_t j) const { return chi_[(i - j + q_) % q_]; }

 private:
  std::int64_t q_;
  std::vector<float> chi_;
};

// I + [[0, 1], [-1, S]]
Rows paley_one(std::int64_t order) {
  const QuadraticCharacter chi(order - 1);
  Rows h(order * order);
  for (std::int64_t i = 0; i < order; ++i)
    for (std::int64_t j = 0; j < order; ++j)
      h[i * order + j] = i == j ? 1 : i == 0 ? 1 : j == 0 ? -1 : chi(i - 1, j - 1);
  return h;
}

// C (x) [[1, 1], [1, -1]] + I (x) [[1, -1], [-1, -1]] with C = [[0, 1], [1, S]]
Rows paley_two(std::int64_t order) {
  const std::int64_t half = order / 2;
  const QuadraticCharacter chi(half - 1);
  constexpr float kEdge[2][2] = {{1, 1}, {1, -1}}, kDiagonal[2][2] = {{1, -1}, {-1, -1}};
  Rows h(order * order);
  for (std::int64_t i = 0; i < order; ++i)
    for (std::int64_t j = 0; j < order; ++j) {
      const std::int64_t a = i / 2, b = j / 2;
      const float c = a == b ? 0 : a == 0 || b == 0 ? 1 : chi(a - 1, b - 1);
      h[i * order + j] = a == b ? kDiagonal[i % 2][j % 2] : c * kEdge[i % 2][j % 2];
    }
  return h;
}

// First rows of four symmetric circulants with A^2 + B^2 + C^2 + D^2 = 4 w I (handbook, transforms, 5); a test proves
// each orthogonal.
struct Williamson {
  std::array<std::string_view, 4> first_rows;
};
constexpr Williamson kWilliamson[] = {
    {{"+-+--++++--+-", "+---++++++---", "++-+--++--+-+", "+----+--+----"}},
    {{"+++--+-+-----+--++----++--+-----+-+--++", "++++---+--++----+-+--+-+----++--+---+++",
      "+++--++-+---+-+--+----+--+-+---+-++--++", "+---++-+-+-----+++-++-+++-----+-+-++---"}},
    {{"+---++--++++-+-+++-++--++-+++-+-++++--++---", "++-++++++----+-+--++-++-++--+-+----++++++-+",
      "+++-+-++--+-+-++++-+----+-++++-+-+--++-+-++", "++---++++-+--+--++--------++--+--+-++++---+"}},
};

// [[A, B, C, D], [-B, A, -D, C], [-C, D, A, -B], [-D, -C, B, A]]
Rows williamson(std::int64_t order) {
  constexpr int kBlock[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  constexpr float kSign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};
  const std::int64_t w = order / 4;
  for (const Williamson& known : kWilliamson) {
    if (static_cast<std::int64_t>(known.first_rows[0].size()) != w) continue;
    Rows h(order * order);
    for (std::int64_t i = 0; i < order; ++i)
      for (std::int64_t j = 0; j < order; ++j) {
        const std::int64_t a = i / w, b = j / w;
        const bool plus = known.first_rows[kBlock[a][b]][(j % w - i % w + w) % w] == '+';
        h[i * order + j] = kSign[a][b] * (plus ? 1 : -1);
      }
    return h;
  }
  return {};
}

Rows build(std::int64_t order) {
  if (order == 1) return {1};
  if (order == 2) return {1, 1, 1, -1};
  if (order % 4 != 0 || order < 4 || order > kMaxHadamardFactor) return {};
  if (is_prime(order - 1)) return paley_one(order);  // order - 1 = 3 mod 4
  if ((order / 2 - 1) % 4 == 1 && is_prime(order / 2 - 1)) return paley_two(order);
  return williamson(order);
}

}  // namespace

std::vector<float> hadamard_factor(std::int64_t order) {
  Rows h = build(order);
  if (h.empty()) return h;
  const Rows first(h.begin(), h.begin() + order);
  for (std::int64_t i = 0; i < order; ++i)  // a column times its first sign stays orthogonal
    for (std::int64_t j = 0; j < order; ++j) h[i * order + j] *= first[j];
  return h;
}

}  // namespace vernier::kernels
