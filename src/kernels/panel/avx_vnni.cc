// CPUs with 256-bit dot products and no AVX-512.
#define VN_TARGET_HALF __attribute__((target("avxvnni,avx2,fma,f16c")))
#define VN_DPBUSD _mm256_dpbusd_avx_epi32
#include "kernels/panel/quads.h"

namespace vernier::kernels {

void panels_avx_vnni(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(), [&]<PanelKind kind, int bits>() { half_panels<Quads, kind, bits>(task, range); });
}

}  // namespace vernier::kernels
