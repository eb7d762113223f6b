#include "kernels/fixtures.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

TEST(RmsNorm, MatchesTheFormula) {
  for (const auto& [cols, slice] : {std::pair<std::int64_t, std::int64_t>{77, 0}, {64, 16}, {3, 3}, {1, 0}}) {
    const std::int64_t width = slice > 0 ? slice : cols;
    const Owned x = normal(5, cols, 1, 30), w = normal(1, width, 2);
    for (float offset : {0.0f, 1.0f}) {
      Owned found(5, cols), wanted(5, cols);
      rms_norm(x.matrix(), w.data, 1e-5f, offset, slice, found.matrix());
      for (std::int64_t r = 0; r < 5; ++r)
        for (std::int64_t c = 0; c < cols; ++c) {
          double square = 0;
          for (std::int64_t i = 0; i < width; ++i)
            square += std::pow(static_cast<double>(x(r, c / width * width + i)), 2);
          wanted.matrix()(r, c) =
              static_cast<float>(x(r, c) / std::sqrt(square / width + 1e-5) * (offset + w.data[c % width]));
        }
      testing::expect_near(found, wanted, 5e-7);
    }
  }
}

TEST(LayerNorm, MatchesTheFormulaFarFromZero) {
  const Owned w = normal(1, 93, 2), b = normal(1, 93, 3);
  Owned x = normal(4, 93, 1);
  for (float& v : x.data) v += 1000;  // the mean dwarfs the deviation
  for (std::span<const float> bias : {std::span<const float>(b.data), std::span<const float>()}) {
    Owned found(4, 93), wanted(4, 93);
    layer_norm(x.matrix(), w.data, bias, 1e-5f, found.matrix());
    for (std::int64_t r = 0; r < 4; ++r) {
      double mean = 0, variance = 0;
      for (std::int64_t c = 0; c < 93; ++c) mean += x(r, c) / 93.0;
      for (std::int64_t c = 0; c < 93; ++c) variance += (x(r, c) - mean) * (x(r, c) - mean) / 93.0;
      for (std::int64_t c = 0; c < 93; ++c)
        wanted.matrix()(r, c) = static_cast<float>((x(r, c) - mean) / std::sqrt(variance + 1e-5) * w.data[c] +
                                                   (bias.empty() ? 0 : bias[c]));
    }
    testing::expect_near(found, wanted, 1e-6);
  }
}

TEST(Norms, AnEmptyWeightIsAllOnes) {
  const Owned x = normal(3, 40, 1);
  const std::vector<float> ones(40, 1.0f);
  Owned with(3, 40), without(3, 40);
  layer_norm(x.matrix(), ones, {}, 1e-6f, with.matrix());
  layer_norm(x.matrix(), {}, {}, 1e-6f, without.matrix());
  EXPECT_TRUE(same_bits(with, without));
  rms_norm(x.matrix(), ones, 1e-6f, 0, 0, with.matrix());
  rms_norm(x.matrix(), {}, 1e-6f, 0, 0, without.matrix());
  EXPECT_TRUE(same_bits(with, without));
}

TEST(Norms, MayWriteOverTheirInput) {
  const Owned x = normal(6, 40, 1), w = normal(1, 40, 2);
  Owned apart(6, 40), in_place = x;
  rms_norm(x.matrix(), w.data, 1e-6f, 0, 0, apart.matrix());
  rms_norm(in_place.matrix(), w.data, 1e-6f, 0, 0, in_place.matrix());
  EXPECT_TRUE(same_bits(apart, in_place));
  in_place = x;
  layer_norm(x.matrix(), w.data, {}, 1e-6f, apart.matrix());
  layer_norm(in_place.matrix(), w.data, {}, 1e-6f, in_place.matrix());
  EXPECT_TRUE(same_bits(apart, in_place));
}

TEST(Norms, SameBitsAtAnyThreadCount) {
  const Owned x = normal(300, 400, 1), w = normal(1, 400, 2);
  testing::expect_same_at_any_thread_count([&] {
    Owned y(300, 400);
    rms_norm(x.matrix(), w.data, 1e-6f, 0, 0, y.matrix());
    layer_norm(y.matrix(), w.data, w.data, 1e-6f, y.matrix());
    return y;
  });
}

TEST(Rope, TurnsPairsByTheirAngle) {
  const std::vector<std::int64_t> positions = {0, 1, 17, 4095};
  const std::vector<float> frequency = {1.0f, 0.1f, 0.003f};
  const Owned x = normal(4, 12, 1);  // two heads of 6
  Owned y = x;
  rope(y.matrix(), positions, frequency, 1.25f, 6);
  for (std::int64_t r = 0; r < 4; ++r)
    for (std::int64_t head = 0; head < 12; head += 6)
      for (std::int64_t j = 0; j < 3; ++j) {
        const double angle = static_cast<float>(positions[r]) * frequency[j];
        const double a = x(r, head + j), b = x(r, head + j + 3);
        EXPECT_NEAR(y(r, head + j), 1.25 * (a * std::cos(angle) - b * std::sin(angle)), 1e-5);
        EXPECT_NEAR(y(r, head + j + 3), 1.25 * (b * std::cos(angle) + a * std::sin(angle)), 1e-5);
      }
}

TEST(Rope, ScoresDependOnDistanceAlone) {
  const std::vector<float> frequency = {1.0f, 0.2f};
  const auto score = [&](std::int64_t query, std::int64_t key) {
    Owned q = normal(1, 4, 1), k = normal(1, 4, 2);
    rope(q.matrix(), std::vector<std::int64_t>{query}, frequency, 1, 4);
    rope(k.matrix(), std::vector<std::int64_t>{key}, frequency, 1, 4);
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(q.data[i]) * k.data[i];
    return sum;
  };
  EXPECT_NEAR(score(7, 3), score(104, 100), 1e-5);
  EXPECT_GT(std::fabs(score(7, 3) - score(7, 5)), 1e-3);
}

}  // namespace
}  // namespace vernier::kernels
