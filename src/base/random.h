// A counter-based generator: value i of stream (seed, name) is the same whatever order or thread asks for it.
#pragma once

#include <cstdint>

namespace vernier {

class Random {
 public:
  explicit Random(std::uint64_t seed) : key_(mix(seed ^ 0x6A09E667F3BCC909ull)) {}

  std::uint64_t bits(std::uint64_t index) const { return mix(key_ + index * 0x9E3779B97F4A7C15ull); }
  double uniform(std::uint64_t index) const { return static_cast<double>(bits(index) >> 11) * 0x1p-53; }  // [0, 1)
  float normal(std::uint64_t index) const;  // mean 0, deviation 1 (Box-Muller on two halves of one draw)
  // Uniform in [0, bound) without modulo bias beyond 2^-64.
  std::uint64_t below(std::uint64_t index, std::uint64_t bound) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(index)) * bound) >> 64);
  }

 private:
  // The finalizer of splitmix64 (Steele, Lea, Flood 2014).
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  std::uint64_t key_;
};

}  // namespace vernier
