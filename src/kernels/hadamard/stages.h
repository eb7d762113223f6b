// Butterflies on vectors of any width. The file that includes this defines VN_TARGET_STAGES, the attribute of its
// instruction set, and before the inclusion, in this namespace: Vector, kLanes, load, store, all (one number in every
// lane), and inside (the stages within a vector).
#pragma once

#ifndef VN_TARGET_STAGES
#error "define VN_TARGET_STAGES before including this"
#endif

namespace vernier::kernels {
namespace {

// Stages at distance 1 .. count / 2, in vectors.
template <int kCount>
VN_TARGET_STAGES VN_INLINE void across(Vector (&r)[kCount]) {
#pragma GCC unroll 4
  for (int h = 1; h < kCount; h *= 2)
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) {
      if (i & h) continue;
      const Vector u = r[i], v = r[i + h];
      r[i] = u + v;
      r[i + h] = u - v;
    }
}

// The first stages of every block of kCount vectors.
template <int kCount>
VN_TARGET_STAGES void first_stages(float* x, std::int64_t n, float scale) {
  const Vector factor = all(scale);
  for (std::int64_t first = 0; first < n; first += kCount * kLanes) {
    Vector r[kCount];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) r[i] = inside(load(x + first + i * kLanes) * factor);
    across(r);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) store(x + first + i * kLanes, r[i]);
  }
}

// Stages at distance h, 2 h .. kCount / 2 * h.
template <int kCount>
VN_TARGET_STAGES void more_stages(float* x, std::int64_t n, std::int64_t h) {
  for (std::int64_t first = 0; first < n; first += kCount * h)
    for (std::int64_t at = first; at < first + h; at += kLanes) {
      Vector r[kCount];
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) r[i] = load(x + at + i * h);
      across(r);
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) store(x + at + i * h, r[i]);
    }
}

}  // namespace
}  // namespace vernier::kernels
