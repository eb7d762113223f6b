#include "kernels/fixtures.h"
#include "kernels/ops.h"
#include "kernels/reference.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

struct Case {
  std::int64_t tokens, start, heads, kv_heads, head_dim, window;
};

struct Inputs {
  Owned q, k, v;
  AttentionShape shape;
};

Inputs inputs(const Case& c) {
  const std::int64_t keys = c.start + c.tokens;
  return {normal(c.tokens, c.heads * c.head_dim, 1),
          normal(keys, c.kv_heads * c.head_dim, 2),
          normal(keys, c.kv_heads * c.head_dim, 3),
          {c.heads, c.kv_heads, c.head_dim, c.window, c.start, 1 / std::sqrt(static_cast<float>(c.head_dim))}};
}

Owned run(const Inputs& in) {
  Owned out(in.q.rows, in.q.cols);
  std::fill(out.data.begin(), out.data.end(), NAN);
  attention(in.q.matrix(), in.k.matrix(), in.v.matrix(), in.shape, out.matrix());
  return out;
}

class Attention : public ::testing::TestWithParam<Case> {};

TEST_P(Attention, MatchesTheReference) {
  const Inputs in = inputs(GetParam());
  Owned wanted(in.q.rows, in.q.cols);
  reference::attention(in.q.matrix(), in.k.matrix(), in.v.matrix(), in.shape, wanted.matrix());
  testing::expect_near(run(in), wanted, 3e-6);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         ::testing::Values(Case{1, 0, 1, 1, 1, 0}, Case{5, 0, 2, 2, 8, 0}, Case{1, 17, 4, 2, 16, 0},
                                           Case{65, 0, 6, 2, 24, 0}, Case{3, 700, 4, 1, 32, 0},
                                           Case{130, 450, 2, 1, 64, 0}, Case{200, 0, 2, 2, 16, 1},
                                           Case{200, 0, 2, 2, 16, 50}, Case{90, 1000, 3, 3, 20, 33},
                                           Case{2, 1023, 2, 1, 8, 512}, Case{300, 200, 2, 1, 8, 130},
                                           Case{600, 0, 1, 1, 16, 5000}));

TEST(Attention, SameBitsAtAnyThreadCount) {
  const Inputs in = inputs({150, 400, 6, 2, 16, 0});
  testing::expect_same_at_any_thread_count([&] { return run(in); });
}

// Scores far apart: the running maximum moves between tiles of keys and no weight overflows.
TEST(Attention, SurvivesExtremeScores) {
  Inputs in = inputs({4, 1200, 1, 1, 4, 0});
  for (std::int64_t key = 0; key < in.k.rows; ++key) in.k.matrix()(key, 0) = static_cast<float>(key % 700);
  in.shape.scale = 10;
  Owned wanted(4, 4);
  reference::attention(in.q.matrix(), in.k.matrix(), in.v.matrix(), in.shape, wanted.matrix());
  testing::expect_near(run(in), wanted, 1e-4);
}

}  // namespace
}  // namespace vernier::kernels
