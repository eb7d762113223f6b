// The float operations executors are made of. Every result is the same at any thread count: work is cut into fixed
// tiles, and each output element is reduced by one worker in a fixed order.
#pragma once

#include <cstdint>
#include <span>

#include "formats/activation.h"
#include "vernier/format.h"
#include "vernier/tensor.h"

namespace vernier::kernels {

// c = a b (b [k, n]), or a b^T (b [n, k]) with transpose_b; c += with accumulate. Single-threaded: one tile of work.
// alpha scales the product. oneDNN on CPUs it knows.
void sgemm(Matrix<const float> a, Matrix<const float> b, bool transpose_b, Matrix<float> c, float alpha = 1,
           bool accumulate = false);
// c = a^T b (a [k, m], b [k, n]); otherwise as sgemm.
void sgemm_at(Matrix<const float> a, Matrix<const float> b, Matrix<float> c, float alpha = 1, bool accumulate = false);

// y = x W^T + bias in float, W through decode_rows. x [tokens, cols], y [tokens, rows]; parallel over tiles of rows.
// (kernels/panel/panel.h multiplies packed weights in integers.)
void linear(Matrix<const float> x, const WeightMatrix& weight, std::span<const float> bias, Matrix<float> y);

// What linear multiplies in from 8 tokens on: f32 (at first), or bf16 with float sums, for the whole process. False,
// and nothing changed, where the CPU does not multiply that type. Not while a linear runs.
bool set_compute(DType dtype);
DType compute();

// Norms: an empty weight is all ones, an empty bias all zeros; y may be x. Sums in double.
void rms_norm_row(const float* x, std::int64_t width, std::span<const float> weight, float eps, float unit_offset,
                  float* y);
void rms_norm(Matrix<const float> x, std::span<const float> weight, float eps, float unit_offset, std::int64_t slice,
              Matrix<float> y);
void layer_norm(Matrix<const float> x, std::span<const float> weight, std::span<const float> bias, float eps,
                Matrix<float> y);
// Rotates x in place; row i is at positions[i]; heads of head_dim columns, pairs (j, j + head_dim / 2) turned by
// positions[i] * inverse_frequency[j] radians; `magnitude` multiplies cos and sin.
void rope(Matrix<float> x, std::span<const std::int64_t> positions, std::span<const float> inverse_frequency,
          float magnitude, std::int64_t head_dim);

// Causal attention of one sequence: q [n, heads * head_dim] at positions start.., k and v [start + n, kv_heads *
// head_dim].
struct AttentionShape {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0, window = 0, start = 0;
  float scale = 0;
};
void attention(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const AttentionShape& shape,
               Matrix<float> out);

void silu(Matrix<float> x);
void relu(Matrix<float> x);
void gelu(Matrix<float> x);                             // erf form
void add(Matrix<float> x, Matrix<const float> y);       // x += y
void multiply(Matrix<float> x, Matrix<const float> y);  // x *= y, elementwise

// Quantizes and dequantizes x in place as `spec` says.
void fake_quantize(Matrix<float> x, const ActivationSpec& spec);

}  // namespace vernier::kernels
