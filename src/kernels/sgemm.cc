#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstdlib>

#include "kernels/one_thread.h"
#include "kernels/onednn/api.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

// c [m, n] = alpha op(a) op(b) + beta c, row-major.
void multiply(char transpose_a, char transpose_b, std::int64_t k, Matrix<const float> a, Matrix<const float> b,
              Matrix<float> c, float alpha, bool accumulate) {
  if (c.rows == 0 || c.cols == 0) return;
  if (k == 0) {
    for (std::int64_t r = 0; r < c.rows && !accumulate; ++r) std::fill_n(c.row(r), c.cols, 0.0f);
    return;
  }
  const OneThread one_thread;
  if (!onednn().sgemm(transpose_a, transpose_b, c.rows, c.cols, k, alpha, a.data, a.stride, b.data, b.stride,
                      accumulate ? 1.0f : 0.0f, c.data, c.stride)) {
    std::fprintf(stderr, "vernier: oneDNN refused a product of %ld x %ld x %ld\n", static_cast<long>(c.rows),
                 static_cast<long>(c.cols), static_cast<long>(k));
    std::abort();
  }
}

}  // namespace

void sgemm(Matrix<const float> a, Matrix<const float> b, bool transpose_b, Matrix<float> c, float alpha,
           bool accumulate) {
  assert(a.rows == c.rows && a.cols == (transpose_b ? b.cols : b.rows) && c.cols == (transpose_b ? b.rows : b.cols));
  multiply('N', transpose_b ? 'T' : 'N', a.cols, a, b, c, alpha, accumulate);
}

void sgemm_at(Matrix<const float> a, Matrix<const float> b, Matrix<float> c, float alpha, bool accumulate) {
  assert(a.cols == c.rows && a.rows == b.rows && b.cols == c.cols);
  multiply('T', 'N', a.rows, a, b, c, alpha, accumulate);
}

}  // namespace vernier::kernels
