// Small floats: sign, exponent and mantissa in 4 or 8 bits. Source: handbook, formats, "General minifloat ExMy".
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace vernier {

// code = sign | exponent | mantissa. Exponent 0: (-1)^s m 2^(1 - bias - M); else (-1)^s (1 + m / 2^M) 2^(e - bias).
template <int E, int M, int Bias, bool HasNan>
struct Minifloat {
  static constexpr int bits = 1 + E + M;
  static constexpr int magnitudes = 1 << (E + M);           // codes without a sign
  static constexpr int top_code = magnitudes - 1 - HasNan;  // of the largest finite magnitude
  static constexpr std::uint8_t sign_bit = magnitudes;

  static constexpr float magnitude(int code) {
    if (code > top_code) return std::numeric_limits<float>::quiet_NaN();
    const int e = code >> M, m = code & ((1 << M) - 1);
    const int power = (e == 0 ? 1 : e) - Bias - M;
    const float mantissa = static_cast<float>(e == 0 ? m : m + (1 << M));
    return mantissa * std::bit_cast<float>(static_cast<std::uint32_t>(power + 127) << 23);
  }
  static constexpr float top = magnitude(top_code);

  static constexpr auto make_values() {
    std::array<float, 2 * magnitudes> values{};
    for (int code = 0; code < magnitudes; ++code) {
      values[code] = magnitude(code);
      values[code + magnitudes] = -magnitude(code);
    }
    return values;
  }
  static constexpr std::array<float, 2 * magnitudes> values = make_values();  // by code

  // The nearest code, ties to the even one; beyond the largest magnitude, and for NaN, the largest.
  static std::uint8_t encode(float x) {
    const auto sign = static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(x) >> 31 ? sign_bit : 0);
    float a = std::fabs(x);
    a = a < top ? a : top;
    // The exponent field of `a` as a float, that of the smallest normal number at least.
    std::uint32_t field = std::bit_cast<std::uint32_t>(a) >> 23;
    constexpr std::uint32_t lowest = 127 + 1 - Bias;
    field = field > lowest ? field : lowest;
    const float per_step = std::bit_cast<float>((254 + M - field) << 23);  // 1 / the distance between codes here
    const auto steps = static_cast<std::uint32_t>(static_cast<std::int32_t>(std::rint(a * per_step)));
    // Steps of a normal number count its hidden bit, which carries into the exponent by itself.
    return static_cast<std::uint8_t>(sign | (steps + ((field - lowest) << M)));
  }
};

using E4M3 = Minifloat<4, 3, 7, true>;   // FP8; largest 448, codes 7F and FF are NaN
using E2M1 = Minifloat<2, 1, 1, false>;  // FP4; 0, 0.5, 1, 1.5, 2, 3, 4, 6

// E8M0, the power-of-two scale of the MX formats: 2^(code - 127); 255 is NaN.
inline float e8m0_value(std::uint8_t code) {
  return code == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, static_cast<int>(code) - 127);
}

}  // namespace vernier
