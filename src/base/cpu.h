// What this CPU can do, asked once. A kernel's ISA name is one of these strings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vernier {

#if defined(__x86_64__)
inline constexpr bool kX86 = true, kArm = false;
#elif defined(__aarch64__)
inline constexpr bool kX86 = false, kArm = true;
#else
#error "x86-64 and AArch64 are known; another processor needs its own base/cpu_<name>.cc"
#endif

// Instruction sets: scalar, those of Arm, those of x86, each kind in rising order. Each implies the ones before it of
// its kind, but for avx_vnni (dot products in 256 bits), which CPUs with AVX-512 may lack.
// neon_dot has SDOT (FEAT_DotProd), neon_i8mm USDOT and USMMLA (FEAT_I8MM), too.
enum class Isa { scalar, neon_dot, neon_i8mm, avx2, avx_vnni, avx512, avx512_vnni, amx };
inline constexpr Isa kEveryIsa[] = {Isa::scalar,   Isa::neon_dot, Isa::neon_i8mm,   Isa::avx2,
                                    Isa::avx_vnni, Isa::avx512,   Isa::avx512_vnni, Isa::amx};

std::string_view name(Isa isa);
bool supports(Isa isa);  // AMX includes the kernel's permission to use tiles
// What VERNIER_ISA or force_isa() says, else the highest supported one. AMX has to be asked for: its kernels have not
// yet run on a machine that has it.
Isa best_isa();
bool force_isa(std::string_view name);  // false when the CPU lacks it or the name is unknown

bool supports_bf16();  // dot products of bf16: AVX512_BF16

std::string cpu_model();                  // "AMD EPYC ..."
std::vector<std::string> cpu_features();  // "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", ...

}  // namespace vernier
