#include "kernels/linear/bf16.h"

#include "base/cpu.h"
#include "kernels/one_thread.h"
#include "kernels/onednn/api.h"

namespace vernier::kernels {

bool multiplies_bf16() { return best_isa() >= Isa::avx512 && supports_bf16(); }

bool product_bf16(Matrix<const std::uint16_t> x, Matrix<const std::uint16_t> w, Matrix<float> y) {
  const OneThread one_thread;
  return onednn().product_bf16(x.rows, w.rows, x.cols, x.data, x.stride, w.data, w.stride, y.data, y.stride);
}

}  // namespace vernier::kernels
