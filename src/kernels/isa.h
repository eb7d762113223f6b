// How an op with one function per instruction set picks among them. Functions are compiled with target attributes, so
// the rest of the library stays portable. Files named after an instruction set are built for its processor alone
// (cmake/Layers.cmake); what calls into them does so under `if constexpr (kX86)` or `if constexpr (kArm)`.
#pragma once

#include "base/cpu.h"

#if defined(__x86_64__)
#define VN_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define VN_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define VN_TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#else  // bodies that are compiled once per instruction set still compile, and are never picked
#define VN_TARGET_AVX2
#define VN_TARGET_AVX512
#endif
// For a body that is compiled once per instruction set by inlining it into functions with those attributes.
#define VN_INLINE inline __attribute__((always_inline))

namespace vernier::kernels {

// The function of this CPU among three of one type.
template <auto scalar, auto avx2, auto avx512>
auto pick() {
  if constexpr (kX86) {
    const Isa isa = best_isa();
    if (isa >= Isa::avx512) return avx512;
    if (isa >= Isa::avx2) return avx2;
  }
  return scalar;
}

}  // namespace vernier::kernels
