// Fingerprints for journals: xxHash-style 64-bit mixing, stable across machines and versions; not cryptographic.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vernier {

class Fingerprint {
 public:
  Fingerprint& add(std::span<const std::byte> bytes);
  Fingerprint& add(std::string_view text);  // length-prefixed, so ("ab","c") differs from ("a","bc")
  Fingerprint& add(std::uint64_t value);
  std::string hex() const;  // 32 digits

 private:
  void mix(std::uint64_t word);
  std::uint64_t a_ = 0x9E3779B97F4A7C15ull, b_ = 0xD1B54A32D192ED03ull;
};

}  // namespace vernier
