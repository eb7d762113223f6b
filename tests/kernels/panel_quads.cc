// The 256-bit dot products in the encoding of AVX-512 VNNI, so that CPUs without AVX-VNNI try them.
#define VN_TARGET_HALF __attribute__((target("avx512vl,avx512vnni,avx2,fma,f16c")))
#define VN_DPBUSD _mm256_dpbusd_epi32
#include "kernels/panel/quads.h"

#include "kernels/panel_fixtures.h"

namespace vernier::kernels {
namespace {

using testing::Owned;

TEST(PanelQuads, GivesTheScalarBits) {
  if (!supports(Isa::avx512_vnni)) GTEST_SKIP() << "wants AVX-512 VNNI; panel.cc tries AVX-VNNI where the CPU has that";
  const std::string best(name(best_isa()));
  for (const std::int64_t tokens : {1, 3, 4, 9}) {
    for (const PanelSpec& spec : testing::every_spec(53, 300, 64)) {
      SCOPED_TRACE(testing::text(spec, tokens));
      for (const testing::Values values : {testing::Values::random, testing::Values::largest}) {
        const testing::Packed w = testing::make(spec, values);
        const Owned x = values == testing::Values::random ? testing::normal(tokens, spec.cols, 3)
                                                          : testing::extreme(tokens, spec.cols, true);
        Owned wanted(tokens, spec.rows), found(tokens, spec.rows);
        QuantizedRows rows;
        ASSERT_TRUE(force_isa("scalar"));
        quantize_rows(x.matrix(), rows_format(*w.matrix), rows);
        panel_linear(rows, *w.matrix, {}, wanted.matrix());
        ASSERT_TRUE(force_isa("avx2"));  // whose order of activations these products share
        quantize_rows(x.matrix(), rows_format(*w.matrix), rows);
        const PanelTask task{rows, *w.matrix, {}, found.matrix()};
        by_kind_and_bits(spec, [&]<PanelKind kind, int bits>() {
          half_panels<Quads, kind, bits>(task, {0, w.matrix->panels(), 0, tokens});
        });
        EXPECT_TRUE(testing::same_bits(found, wanted));
      }
    }
  }
  ASSERT_TRUE(force_isa(best));
}

}  // namespace
}  // namespace vernier::kernels
