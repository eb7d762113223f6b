#include "tensor/convert_avx2.h"

#include <immintrin.h>

#include <cstring>

#include "tensor/convert.h"

namespace vernier {
namespace {

std::uint16_t load(const std::byte* p) {
  std::uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace

__attribute__((target("avx2,f16c"))) void f16_to_float_avx2(const std::byte* in, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 2 * i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(half));
  }
  for (; i < n; ++i) out[i] = f16_to_float(load(in + 2 * i));
}

__attribute__((target("avx2"))) void bf16_to_float_avx2(const std::byte* in, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 2 * i));
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16)));
  }
  for (; i < n; ++i) out[i] = bf16_to_float(load(in + 2 * i));
}

}  // namespace vernier
