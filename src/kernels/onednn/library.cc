// libvernier_onednn.so: the only file that includes oneDNN.
#include <fmt/format.h>

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "kernels/onednn/api.h"

namespace vernier::kernels {
namespace {

using dnnl::memory;

bool sgemm(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
           const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float beta, float* c,
           std::int64_t c_stride) {
  return dnnl_sgemm(transpose_a, transpose_b, m, n, k, alpha, a, a_stride, b, b_stride, beta, c, c_stride) ==
         dnnl_success;
}

memory::desc matrix_desc(std::int64_t rows, std::int64_t cols, memory::data_type type, std::int64_t row_stride,
                         std::int64_t col_stride) {
  return {memory::dims{rows, cols}, type, memory::dims{row_stride, col_stride}};
}

bool product_bf16(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint16_t* x, std::int64_t x_stride,
                  const std::uint16_t* w, std::int64_t w_stride, float* y, std::int64_t y_stride) {
  try {
    static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    static thread_local dnnl::stream stream(engine);
    const auto x_desc = matrix_desc(m, k, memory::data_type::bf16, x_stride, 1);
    const auto w_desc = matrix_desc(k, n, memory::data_type::bf16, 1, w_stride);
    const auto y_desc = matrix_desc(m, n, memory::data_type::f32, y_stride, 1);
    // oneDNN keeps primitives by shape: making one again takes a few microseconds.
    const dnnl::matmul primitive(dnnl::matmul::primitive_desc(dnnl::matmul::desc(x_desc, w_desc, y_desc), engine));
    primitive.execute(stream, {{DNNL_ARG_SRC, memory(x_desc, engine, const_cast<std::uint16_t*>(x))},
                               {DNNL_ARG_WEIGHTS, memory(w_desc, engine, const_cast<std::uint16_t*>(w))},
                               {DNNL_ARG_DST, memory(y_desc, engine, y)}});
    stream.wait();
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

bool gemm_u8s8(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint8_t* a, const std::int8_t* b,
               std::int32_t* c, std::int64_t c_stride) {
  const std::int32_t no_offset = 0;
  return dnnl_gemm_u8s8s32('N', 'T', 'F', m, n, k, 1.0f, a, k, 0, b, k, 0, 0.0f, c, c_stride, &no_offset) ==
         dnnl_success;
}

}  // namespace
}  // namespace vernier::kernels

extern "C" const vernier::kernels::OnednnApi* vernier_onednn_api() {
  static const std::string version = [] {
    const dnnl_version_t* v = dnnl_version();
    return fmt::format("{}.{}.{}", v->major, v->minor, v->patch);
  }();
  static const vernier::kernels::OnednnApi api{version.c_str(), vernier::kernels::sgemm, vernier::kernels::product_bf16,
                                               vernier::kernels::gemm_u8s8};
  return &api;
}
