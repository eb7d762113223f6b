// VN_VECTORIZED before a function compiles it once per vector width and picks by CPU at load time. Results are the same
// in every clone: the project builds with -ffp-contract=off, and such loops neither reassociate nor approximate.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define VN_VECTORIZED __attribute__((target_clones("default", "avx2", "avx512f"), optimize("O3")))
#else
#define VN_VECTORIZED
#endif
