// oneDNN, behind a shared library of its own (libvernier_onednn.so, opened privately on first use).
//
// libtorch carries another oneDNN and exports some of its template instances: in one symbol scope, each library's
// products would run the other's code generators. Loaded privately, each binds to itself.
#pragma once

#include <cstdint>

namespace vernier::kernels {

struct OnednnApi {
  const char* version;  // "2.6.3"
  // c [m, n] = alpha op(a) op(b) + beta c, row-major, on the calling thread. False when oneDNN refuses.
  bool (*sgemm)(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float beta, float* c,
                std::int64_t c_stride);
  // y [m, n] = x [m, k] w^T, w [n, k], bf16 with float sums, on the calling thread. False when there is no primitive.
  bool (*product_bf16)(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint16_t* x, std::int64_t x_stride,
                       const std::uint16_t* w, std::int64_t w_stride, float* y, std::int64_t y_stride);
  // c [m, n] = a b^T in integers, a [m, k], b [n, k], on the calling thread. False when oneDNN refuses. Nothing but
  // benchmarks needs it: the int8 rate that panel kernels are measured against.
  bool (*gemm_u8s8)(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint8_t* a, const std::int8_t* b,
                    std::int32_t* c, std::int64_t c_stride);
};

// Ends the process with a message when the library that was built with this one cannot be opened.
const OnednnApi& onednn();

}  // namespace vernier::kernels
