#include "base/hash.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace vernier {

// Two lanes of multiply-rotate mixing; the multipliers are those of xxHash64 (Collet 2012).
void Fingerprint::mix(std::uint64_t word) {
  a_ = std::rotl(a_ ^ (word * 0xC2B2AE3D27D4EB4Full), 31) * 0x9E3779B185EBCA87ull + 0x85EBCA77C2B2AE63ull;
  b_ = std::rotl(b_ + (word ^ 0x27D4EB2F165667C5ull), 27) * 0xC2B2AE3D27D4EB4Full ^ a_;
}

Fingerprint& Fingerprint::add(std::span<const std::byte> bytes) {
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  std::uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  mix(tail);
  mix(bytes.size());
  return *this;
}

Fingerprint& Fingerprint::add(std::string_view text) { return add(std::as_bytes(std::span(text.data(), text.size()))); }

Fingerprint& Fingerprint::add(std::uint64_t value) {
  mix(value);
  return *this;
}

std::string Fingerprint::hex() const {
  const auto finish = [](std::uint64_t h) {
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDull;
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53ull;
    return h ^ (h >> 33);
  };
  return fmt::format("{:016x}{:016x}", finish(a_), finish(b_ ^ a_));
}

}  // namespace vernier
