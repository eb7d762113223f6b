#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/cpu.h"

namespace vernier {
namespace {

bool amx_in_cpuid() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 25 & 1);  // AMX-TILE, AMX-INT8
}

// Not every compiler's __builtin_cpu_supports knows this one.
bool f16c_in_cpuid() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

bool avx_vnni_in_cpuid() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

// Linux grants the tile state (XFEATURE 18) per process, on request.
bool request_tiles() {
  constexpr long arch_req_xcomp_perm = 0x1023;
  static const bool granted = ::syscall(SYS_arch_prctl, arch_req_xcomp_perm, 18) == 0;
  return granted;
}

}  // namespace

bool supports(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::neon_dot:
    case Isa::neon_i8mm:
      return false;
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c_in_cpuid();
    case Isa::avx_vnni:
      return supports(Isa::avx2) && avx_vnni_in_cpuid();
    case Isa::avx512:
      return supports(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::avx512_vnni:
      return supports(Isa::avx512) && __builtin_cpu_supports("avx512vnni");
    case Isa::amx:
      return supports(Isa::avx512_vnni) && amx_in_cpuid() && request_tiles();
  }
  return false;
}

bool supports_bf16() { return supports(Isa::avx512) && __builtin_cpu_supports("avx512bf16"); }

std::string cpu_model() {
  unsigned regs[12] = {};
  for (unsigned i = 0; i < 3; ++i) {
    if (!__get_cpuid(0x80000002 + i, &regs[4 * i], &regs[4 * i + 1], &regs[4 * i + 2], &regs[4 * i + 3]))
      return "unknown";
  }
  char text[49] = {};
  std::memcpy(text, regs, 48);
  std::string model(text);
  while (!model.empty() && (model.back() == ' ' || model.back() == '\0')) model.pop_back();
  return model.substr(std::min(model.find_first_not_of(' '), model.size()));
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
#define VN_FEATURE(name) \
  if (__builtin_cpu_supports(name)) found.push_back(name)
  VN_FEATURE("avx2");
  VN_FEATURE("fma");
  VN_FEATURE("avx512f");
  VN_FEATURE("avx512bw");
  VN_FEATURE("avx512vl");
  VN_FEATURE("avx512vbmi");
  VN_FEATURE("avx512vnni");
  VN_FEATURE("avx512bf16");
#undef VN_FEATURE
  if (f16c_in_cpuid()) found.push_back("f16c");
  if (avx_vnni_in_cpuid()) found.push_back("avx_vnni");
  unsigned a, b, c, d;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    if (d >> 23 & 1) found.push_back("avx512fp16");
    if (d >> 24 & 1) found.push_back("amx_tile");
    if (d >> 25 & 1) found.push_back("amx_int8");
    if (d >> 22 & 1) found.push_back("amx_bf16");
  }
  return found;
}

}  // namespace vernier
