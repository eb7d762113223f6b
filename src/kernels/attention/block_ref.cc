#include "kernels/attention/block.h"

#include <algorithm>
#include <cmath>

#include "kernels/isa.h"
#include "tensor/convert.h"

namespace vernier::kernels {
namespace {

template <KvType type>
float key_number(const std::byte* panel, std::int64_t c, std::int64_t lane) {
  const std::int64_t at = c * kPanelTokens + lane;
  if constexpr (type == KvType::f32) return reinterpret_cast<const float*>(panel)[at];
  return f16_to_float(reinterpret_cast<const std::uint16_t*>(panel)[at]);
}

template <KvType type>
std::int32_t key_code(const std::byte* panel, std::int64_t c, std::int64_t lane) {
  if constexpr (type == KvType::int8) return static_cast<std::int32_t>(panel[c / 4 * 64 + lane * 4 + c % 4]);
  const auto byte = static_cast<std::int32_t>(panel[c / 8 * 64 + lane * 4 + c % 4]);
  return c % 8 < 4 ? byte & 15 : byte >> 4;
}

template <KvType type>
float value_number(const std::byte* row, std::int64_t c) {
  if constexpr (type == KvType::f32) return reinterpret_cast<const float*>(row)[c];
  return f16_to_float(reinterpret_cast<const std::uint16_t*>(row)[c]);
}

template <KvType type>
std::int32_t value_code(const BlockView& block, std::int64_t token, std::int64_t c) {
  if constexpr (type == KvType::int8)
    return static_cast<std::int8_t>(block.values[value_byte_int8(block.value_row_bytes, token, c)]);
  const auto byte = static_cast<std::int32_t>(block.values[value_byte_int4(block.value_row_bytes, token, c)]);
  return c % 32 < 16 ? byte & 15 : byte >> 4;
}

template <KvType type>
void score_floats(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                  float* scores) {
  for (std::int64_t r = first; r < last; ++r) {
    const float* q = queries.floats + r * queries.stride;
    for (std::int64_t t = 0; t < kPageTokens; ++t) {
      const std::byte* panel = block.keys + t / kPanelTokens * block.panel_bytes;
      float sum = 0;
      for (std::int64_t c = 0; c < queries.head_dim; ++c) sum += q[c] * key_number<type>(panel, c, t % kPanelTokens);
      scores[r * kPageTokens + t] = sum;
    }
  }
}

template <KvType type>
void score_codes(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                 float* scores) {
  for (std::int64_t r = first; r < last; ++r) {
    const std::int8_t* q = queries.codes + r * queries.stride;
    const float scale = queries.code_scale[r];
    const std::int32_t q_sum = queries.code_sum[r];
    for (std::int64_t t = 0; t < kPageTokens; ++t) {
      const std::byte* panel = block.keys + t / kPanelTokens * block.panel_bytes;
      std::int32_t sum = 0;
      for (std::int64_t c = 0; c < queries.head_dim; ++c) sum += q[c] * key_code<type>(panel, c, t % kPanelTokens);
      float& score = scores[r * kPageTokens + t];
      if (type == KvType::int8)
        score = scale * block.key_scale[t] * static_cast<float>(sum - 128 * q_sum);
      else
        score =
            scale * (block.key_scale[t] * static_cast<float>(sum) + block.key_minimum[t] * static_cast<float>(q_sum));
    }
  }
}

template <KvType type>
void weigh_floats(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                  const BlockView& block, std::int64_t tokens, float* out, std::int64_t width) {
  for (std::int64_t r = first; r < last; ++r) {
    float* sums = out + r * width;
    for (std::int64_t c = 0; c < width; ++c) sums[c] += offsets[r];
    for (std::int64_t t = 0; t < tokens; ++t) {
      const std::byte* row = block.values + t * block.value_row_bytes;
      for (std::int64_t c = 0; c < width; ++c) sums[c] += weights[r * kPageTokens + t] * value_number<type>(row, c);
    }
  }
}

template <KvType type>
void weigh_codes(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                 const BlockView& block, std::int64_t tokens, float* out, std::int64_t width) {
  for (std::int64_t r = first; r < last; ++r) {
    const float* w = weights + r * kPageTokens;
    const float largest = *std::max_element(w, w + kPageTokens);
    const bool any = largest > kLeastWeight;
    const float step = any ? largest / kLargestWeightCode : 0, inverse = any ? kLargestWeightCode / largest : 0;
    std::int32_t codes[kPageTokens];
    for (std::int64_t t = 0; t < tokens; ++t)
      codes[t] = static_cast<std::int32_t>(std::rint(std::max(w[t] * inverse, 0.0f)));
    for (std::int64_t c = 0; c < width; ++c) {
      std::int32_t sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t) sum += codes[t] * value_code<type>(block, t, c);
      out[r * width + c] = (out[r * width + c] + offsets[r]) + step * static_cast<float>(sum);
    }
  }
}

}  // namespace

BlockKernels block_scalar(KvType type) {
  switch (type) {
    case KvType::f32:
      return {score_floats<KvType::f32>, weigh_floats<KvType::f32>};
    case KvType::f16:
      return {score_floats<KvType::f16>, weigh_floats<KvType::f16>};
    case KvType::int8:
      return {score_codes<KvType::int8>, weigh_codes<KvType::int8>};
    case KvType::int4:
      return {score_codes<KvType::int4>, weigh_codes<KvType::int4>};
  }
  return {};
}

BlockKernels block_kernels(KvType type) {
  if constexpr (kX86) {
    const Isa isa = best_isa();
    if (isa >= Isa::avx512) {
      const bool integers = type == KvType::int8 || type == KvType::int4;
      return isa >= Isa::avx512_vnni && integers ? block_vnni(type) : block_avx512(type);
    }
    if (isa >= Isa::avx2) return block_avx2(type);
  }
  return block_scalar(type);
}

}  // namespace vernier::kernels
