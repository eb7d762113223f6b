#include "kernels/linear/bf16.h"

#include <immintrin.h>

#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/isa.h"
#include "kernels/one_thread.h"

namespace vernier::kernels {
namespace {

using dnnl::memory;

memory::desc matrix_desc(std::int64_t rows, std::int64_t cols, memory::data_type type, std::int64_t row_stride,
                         std::int64_t col_stride) {
  return {memory::dims{rows, cols}, type, memory::dims{row_stride, col_stride}};
}

}  // namespace

bool multiplies_bf16() { return best_isa() >= Isa::avx512 && __builtin_cpu_supports("avx512bf16"); }

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void round_to_bf16(const float* in, std::int64_t n,
                                                                                   std::uint16_t* out) {
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 tail = n - i >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (n - i)) - 1);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(tail, in + i));
    __m256i bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    _mm256_mask_storeu_epi16(out + i, tail, bits);
  }
}

bool product_bf16(Matrix<const std::uint16_t> x, Matrix<const std::uint16_t> w, Matrix<float> y) {
  const OneThread one_thread;
  try {
    static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    static thread_local dnnl::stream stream(engine);
    const auto x_desc = matrix_desc(x.rows, x.cols, memory::data_type::bf16, x.stride, 1);
    const auto w_desc = matrix_desc(w.cols, w.rows, memory::data_type::bf16, 1, w.stride);
    const auto y_desc = matrix_desc(y.rows, y.cols, memory::data_type::f32, y.stride, 1);
    // oneDNN keeps primitives by shape: making one again takes a few microseconds.
    const dnnl::matmul primitive(dnnl::matmul::primitive_desc(dnnl::matmul::desc(x_desc, w_desc, y_desc), engine));
    primitive.execute(stream, {{DNNL_ARG_SRC, memory(x_desc, engine, const_cast<std::uint16_t*>(x.data))},
                               {DNNL_ARG_WEIGHTS, memory(w_desc, engine, const_cast<std::uint16_t*>(w.data))},
                               {DNNL_ARG_DST, memory(y_desc, engine, y.data)}});
    stream.wait();
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

}  // namespace vernier::kernels
