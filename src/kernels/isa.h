// How an op with one function per instruction set picks among them. Functions are compiled with target attributes, so
// the rest of the library stays portable.
#pragma once

#include "base/cpu.h"

#define VN_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define VN_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define VN_TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
// For a body that is compiled once per instruction set by inlining it into functions with those attributes.
#define VN_INLINE inline __attribute__((always_inline))

namespace vernier::kernels {

template <class Function>
Function pick(Function scalar, Function avx2, Function avx512) {
  const Isa isa = best_isa();
  return isa >= Isa::avx512 ? avx512 : isa >= Isa::avx2 ? avx2 : scalar;
}

}  // namespace vernier::kernels
