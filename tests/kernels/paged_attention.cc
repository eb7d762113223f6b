#include "kernels/attention/paged.h"

#include <algorithm>

#include "base/cpu.h"
#include "kernels/attention/block.h"
#include "kernels/fixtures.h"
#include "kernels/reference.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

constexpr KvType kTypes[] = {KvType::f32, KvType::f16, KvType::int8, KvType::int4};

// Pages of one sequence, scattered over a pool that starts out as NaNs.
struct Pages {
  Pages(KvType type, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t tokens)
      : layout{type, kv_heads, head_dim}, count((tokens + kPageTokens - 1) / kPageTokens) {
    const std::int64_t bytes = 2 * count * layout.page_bytes();
    pool = memory.get(bytes);
    std::fill_n(pool, bytes, std::byte{0xFF});
    for (std::int64_t page = 0; page < count; ++page)
      table.push_back(static_cast<std::int32_t>(2 * (count - page) - 1));
  }
  KvPages view() const { return {layout, pool, table}; }

  KvLayout layout;
  std::int64_t count;
  Scratch<std::byte> memory;
  std::byte* pool;
  std::vector<std::int32_t> table;
};

struct Case {
  std::int64_t tokens, start, heads, kv_heads, head_dim, window;
};

AttentionShape shape_of(const Case& c) {
  return {c.heads, c.kv_heads, c.head_dim, c.window, 0, 1 / std::sqrt(static_cast<float>(c.head_dim))};
}

// Everything is stored first, then the last c.tokens positions ask.
struct Filled {
  Filled(const Case& c, KvType type)
      : q(normal(c.tokens, c.heads * c.head_dim, 1)),
        k(normal(c.start + c.tokens, c.kv_heads * c.head_dim, 2)),
        v(normal(c.start + c.tokens, c.kv_heads * c.head_dim, 3)),
        pages(type, c.kv_heads, c.head_dim, c.start + c.tokens) {
    const KvSequence all{0, c.start + c.tokens, 0, pages.view()};
    store_kv({&all, 1}, k.matrix(), v.matrix());
  }
  Owned q, k, v;
  Pages pages;
};

Owned run(const Case& c, const Filled& filled) {
  Owned out(filled.q.rows, filled.q.cols);
  std::fill(out.data.begin(), out.data.end(), NAN);
  const KvSequence sequence{0, c.tokens, c.start, filled.pages.view()};
  paged_attention(filled.q.matrix(), {&sequence, 1}, shape_of(c), out.matrix());
  return out;
}

class PagedAttention : public ::testing::TestWithParam<Case> {};

// Against plain attention over what the pages hold. Integer pages also round the query: to 1/127 of its largest part,
// which moves a score by a few thousandths.
TEST_P(PagedAttention, MatchesTheReferenceOnWhatIsStored) {
  const Case c = GetParam();
  for (KvType type : kTypes) {
    SCOPED_TRACE(name(type));
    const Filled filled(c, type);
    Owned k(filled.k.rows, filled.k.cols), v(filled.v.rows, filled.v.cols), wanted(filled.q.rows, filled.q.cols);
    load_kv(filled.pages.view(), k.matrix(), v.matrix());
    AttentionShape shape = shape_of(c);
    shape.start = c.start;
    reference::attention(filled.q.matrix(), k.matrix(), v.matrix(), shape, wanted.matrix());
    const bool integers = type == KvType::int8 || type == KvType::int4;
    testing::expect_near(run(c, filled), wanted, integers ? 0.04 : 5e-6);
  }
}

TEST_P(PagedAttention, EveryInstructionSetAgrees) {
  const Case c = GetParam();
  const std::string best(name(best_isa()));
  for (KvType type : kTypes) {
    const Filled filled(c, type);
    ASSERT_TRUE(force_isa("scalar"));
    const Owned wanted = run(c, filled);
    for (const char* isa : {"avx2", "avx512", "avx512_vnni"}) {
      if (!force_isa(isa)) continue;
      SCOPED_TRACE(std::string(name(type)) + " " + isa);
      // The last bits of an exponential can move an integer page's weight by one step of 14 bits.
      const bool integers = type == KvType::int8 || type == KvType::int4;
      testing::expect_near(run(c, filled), wanted, integers ? 3e-4 : 1e-5);
    }
    ASSERT_TRUE(force_isa(best));
  }
}

TEST_P(PagedAttention, SameBitsAtAnyThreadCount) {
  const Case c = GetParam();
  for (KvType type : kTypes) {
    const Filled filled(c, type);
    testing::expect_same_at_any_thread_count([&] { return run(c, filled); });
  }
}

// A row by itself, in chunks, or with everything before it: the same bits.
TEST_P(PagedAttention, RowsDoNotDependOnTheirBatch) {
  const Case c = GetParam();
  for (KvType type : kTypes) {
    SCOPED_TRACE(name(type));
    const Filled filled(c, type);
    const Owned whole = run(c, filled);
    Owned pieces(whole.rows, whole.cols);
    std::vector<KvSequence> sequences;  // one batch whose sequences are pieces of the same one
    const std::int64_t lengths[] = {1, 3, 40, 1, 100};
    for (std::int64_t at = 0, i = 0; at < c.tokens; ++i) {
      const std::int64_t length = std::min(lengths[i % 5], c.tokens - at);
      sequences.push_back({at, length, c.start + at, filled.pages.view()});
      at += length;
    }
    paged_attention(filled.q.matrix(), sequences, shape_of(c), pieces.matrix());
    EXPECT_TRUE(testing::same_bits(whole, pieces));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PagedAttention,
                         ::testing::Values(Case{1, 0, 1, 1, 1, 0}, Case{5, 0, 2, 2, 8, 0}, Case{1, 17, 4, 2, 16, 0},
                                           Case{65, 0, 6, 2, 24, 0}, Case{3, 700, 4, 1, 32, 0},
                                           Case{130, 450, 2, 1, 64, 0}, Case{70, 0, 2, 2, 16, 1},
                                           Case{90, 1000, 3, 3, 20, 33}, Case{2, 1023, 2, 1, 8, 512},
                                           Case{1, 1500, 40, 2, 80, 0}, Case{20, 512, 6, 1, 112, 300}));

TEST(PagedAttentionExtremes, SurvivesScoresFarApart) {
  const Case c{4, 1196, 1, 1, 4, 0};
  for (KvType type : {KvType::f32, KvType::int8}) {
    Filled filled(c, type);
    for (std::int64_t key = 0; key < filled.k.rows; ++key) filled.k.matrix()(key, 0) = static_cast<float>(key % 700);
    const KvSequence all{0, filled.k.rows, 0, filled.pages.view()};
    store_kv({&all, 1}, filled.k.matrix(), filled.v.matrix());
    const Owned out = run(c, filled);
    for (float x : out.data) EXPECT_TRUE(std::isfinite(x));
  }
}

// A page of a huge number, of nothing, and of one number.
TEST(StoreKv, RoundsWithinHalfAStep) {
  constexpr std::int64_t kTokens = 40, kHeads = 2, kDims = 24;
  Owned k = normal(kTokens, kHeads * kDims, 5, 3), v = normal(kTokens, kHeads * kDims, 6);
  std::fill_n(k.matrix().row(3), kHeads * kDims, 0.0f);
  std::fill_n(k.matrix().row(4), kHeads * kDims, -2.5f);
  v.matrix()(5, 0) = 5e4f;
  for (KvType type : kTypes) {
    SCOPED_TRACE(name(type));
    const Pages pages(type, kHeads, kDims, kTokens);
    const KvSequence all{0, kTokens, 0, pages.view()};
    store_kv({&all, 1}, k.matrix(), v.matrix());
    Owned k2(kTokens, kHeads * kDims), v2(kTokens, kHeads * kDims);
    load_kv(pages.view(), k2.matrix(), v2.matrix());
    for (const auto& [stored, source] : {std::pair(&k2, &k), std::pair(&v2, &v)}) {
      for (std::int64_t t = 0; t < kTokens; ++t) {
        for (std::int64_t head = 0; head < kHeads; ++head) {
          const float* x = source->matrix().row(t) + head * kDims;
          const float low = *std::min_element(x, x + kDims), high = *std::max_element(x, x + kDims);
          const float largest = std::max(high, -low);
          // Half a step, and the rounding of the parameters to half precision.
          const double bound = type == KvType::f32   ? 0
                               : type == KvType::f16 ? largest * 0x1p-11 + 1e-7
                               : type == KvType::int8
                                   ? largest / 254.0 * 1.001 + largest * 0x1p-11 + 1e-7
                                   : (high - low) / 30.0 * 1.001 + (high - low) * 0x1p-11 + largest * 0x1p-11 + 1e-7;
          for (std::int64_t c = 0; c < kDims; ++c)
            ASSERT_NEAR((*stored)(t, head * kDims + c), x[c], bound) << t << " " << head << " " << c;
        }
      }
    }
  }
}

// Scores are exact integer sums times the same floats: the same bits on every instruction set, at the extreme codes.
TEST(BlockScore, IntegerScoresAreBitIdentical) {
  constexpr std::int64_t kDims = 256, kRows = 15;
  for (KvType type : {KvType::int8, KvType::int4}) {
    const KvLayout layout{type, 1, kDims};
    Scratch<std::byte> memory;
    std::byte* page = memory.get(layout.page_bytes());
    const KvBlock block = layout.block(page, 0);
    std::vector<std::int8_t> codes(kRows * kDims);
    std::vector<float> scales(kRows, 0.5f);
    std::vector<std::int32_t> sums(kRows, 0);
    const Random random(9);
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t c = 0; c < kDims; ++c) {
        const bool extreme = r < 4;
        codes[r * kDims + c] = static_cast<std::int8_t>(
            extreme ? (r % 2 ? 127 : -127) : static_cast<int>(random.below(r * kDims + c, 255)) - 127);
        sums[r] += codes[r * kDims + c];
      }
    }
    Scratch<float> floats;
    float* params = floats.get(2 * kPageTokens);
    for (std::int64_t t = 0; t < 2 * kPageTokens; ++t) params[t] = static_cast<float>(random.uniform(7000 + t)) - 0.3f;
    for (std::int64_t i = 0; i < 2 * layout.panel_bytes(); ++i) {
      const auto byte = static_cast<std::uint8_t>(i % 64 < 16 ? 0xFF : i % 64 < 32 ? 1 : random.bits(i) & 0xFF);
      block.keys[i] = static_cast<std::byte>(type == KvType::int8 && byte == 0 ? 1 : byte);  // int8: codes from -127
    }
    const BlockView view{block.keys, block.values,        layout.panel_bytes(), layout.value_row_bytes(),
                         params,     params + kPageTokens};
    const QueryRows queries{.codes = codes.data(),
                            .code_scale = scales.data(),
                            .code_sum = sums.data(),
                            .stride = kDims,
                            .head_dim = kDims};
    const auto scores = [&](Score score) {
      Scratch<float> out;
      float* data = out.get(kRows * kPageTokens);
      score(queries, 0, kRows, view, data);
      return std::vector<float>(data, data + kRows * kPageTokens);
    };
    const auto wanted = scores(block_scalar(type).score);
    if constexpr (kX86) {
      if (supports(Isa::avx2)) {
        EXPECT_EQ(scores(block_avx2(type).score), wanted) << name(type);
      }
      if (supports(Isa::avx512_vnni)) {
        EXPECT_EQ(scores(block_vnni(type).score), wanted) << name(type);
      }
    }
  }
}

// So are weighted sums of values, at the extreme weights and codes, with weights of nothing and garbage behind the end.
TEST(BlockWeigh, IntegerSumsAreBitIdentical) {
  constexpr std::int64_t kDims = 112, kRows = 15, kTokens = 29;
  for (KvType type : {KvType::int8, KvType::int4}) {
    SCOPED_TRACE(name(type));
    const KvLayout layout{type, 1, kDims};
    Scratch<std::byte> memory;
    std::byte* page = memory.get(layout.page_bytes());
    const Random random(10);
    for (std::int64_t i = 0; i < layout.page_bytes(); ++i) {
      const auto byte = static_cast<std::uint8_t>(i % 96 < 32 ? 0x81 : i % 96 < 64 ? 0x7F : random.bits(i) & 0xFF);
      page[i] = static_cast<std::byte>(type == KvType::int8 && byte == 0x80 ? 0x81 : byte);
    }
    const KvBlock block = layout.block(page, 0);
    const BlockView view{block.keys, block.values, layout.panel_bytes(), layout.value_row_bytes()};
    Scratch<float> floats;
    float* weights = floats.get(kRows * (kPageTokens + 1));
    float* offsets = weights + kRows * kPageTokens;
    for (std::int64_t r = 0; r < kRows; ++r) {
      offsets[r] = static_cast<float>(r) - 7;
      for (std::int64_t t = 0; t < kPageTokens; ++t) {
        const auto drawn = static_cast<float>(random.uniform(100 * r + t));
        weights[r * kPageTokens + t] = t >= kTokens ? 0 : r == 0 ? 0 : r == 1 ? 2.5f : r == 2 ? 1e-38f : drawn;
      }
    }
    const auto sums = [&](Weigh weigh) {
      Scratch<float> out;
      float* data = out.get(kRows * kDims);
      std::fill_n(data, kRows * kDims, 0.25f);
      weigh(weights, offsets, 0, kRows, view, kTokens, data, kDims);
      return std::vector<float>(data, data + kRows * kDims);
    };
    const auto wanted = sums(block_scalar(type).weigh);
    EXPECT_EQ(wanted[0], 0.25f - 7);
    if constexpr (kX86) {
      if (supports(Isa::avx2)) {
        EXPECT_EQ(sums(block_avx2(type).weigh), wanted);
      }
      if (supports(Isa::avx512_vnni)) {
        EXPECT_EQ(sums(block_vnni(type).weigh), wanted);
      }
    }
  }
}

TEST(KvType, NamesAreReadBack) {
  for (KvType type : kTypes) EXPECT_EQ(kv_type_from_name(name(type)), type);
  EXPECT_FALSE(kv_type_from_name("int5"));
}

}  // namespace
}  // namespace vernier::kernels
