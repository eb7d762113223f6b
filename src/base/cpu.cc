#include "base/cpu.h"

#include <cstdlib>
#include <optional>

namespace vernier {
namespace {

std::optional<Isa> forced;

std::optional<Isa> isa_from_name(std::string_view text) {
  for (Isa isa : kEveryIsa) {
    if (name(isa) == text) return isa;
  }
  return std::nullopt;
}

}  // namespace

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::neon_dot:
      return "neon_dot";
    case Isa::neon_i8mm:
      return "neon_i8mm";
    case Isa::avx2:
      return "avx2";
    case Isa::avx_vnni:
      return "avx_vnni";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_vnni:
      return "avx512_vnni";
    case Isa::amx:
      return "amx";
  }
  return "unknown";
}

Isa best_isa() {
  if (forced) return *forced;
  static const Isa best = [] {
    if (const char* wanted = std::getenv("VERNIER_ISA")) {
      if (const auto isa = isa_from_name(wanted); isa && supports(*isa)) return *isa;
    }
    Isa found = Isa::scalar;
    for (Isa isa : kEveryIsa) {
      if (isa != Isa::amx && supports(isa)) found = isa;
    }
    return found;
  }();
  return best;
}

bool force_isa(std::string_view text) {
  const auto isa = isa_from_name(text);
  if (!isa || !supports(*isa)) return false;
  forced = isa;
  return true;
}

}  // namespace vernier
