#include <asm/hwcap.h>
#include <sys/auxv.h>

#include <fstream>

#include "base/cpu.h"

namespace vernier {

bool supports(Isa isa) {
  if (isa == Isa::scalar) return true;
  if (isa == Isa::neon_dot) return (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  if (isa == Isa::neon_i8mm) return supports(Isa::neon_dot) && (::getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
  return false;
}

bool supports_bf16() { return false; }

std::string cpu_model() {
  std::ifstream tree("/proc/device-tree/model");
  std::string model;
  std::getline(tree, model, '\0');
  return model.empty() ? "AArch64" : model;
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
  if (supports(Isa::neon_dot)) found.emplace_back("dotprod");
  if (supports(Isa::neon_i8mm)) found.emplace_back("i8mm");
  return found;
}

}  // namespace vernier
