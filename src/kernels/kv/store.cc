// Quantizing tokens into pages: the same bytes on every CPU.
#include <algorithm>
#include <cstring>

#include "base/threads.h"
#include "kernels/kv/codes.h"
#include "kernels/kv/half.h"
#include "kernels/kv/page.h"
#include "kernels/scratch.h"
#include "tensor/convert.h"

namespace vernier::kernels {
namespace {

constexpr float kLargestHalf = 65504;

std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Parameters are rounded to their stored type first; codes are chosen for what is stored.
struct Affine {
  std::uint16_t scale = 0, minimum = 0;
};

template <class T>
void scatter_key(const T* key, std::int64_t dims, std::int64_t token, std::byte* keys, std::int64_t panel_bytes) {
  T* out = reinterpret_cast<T*>(keys + token / kPanelTokens * panel_bytes) + token % kPanelTokens;
  for (std::int64_t c = 0; c < dims; ++c) out[c * kPanelTokens] = key[c];
}

// Writes single tokens of one layout.
class Writer {
 public:
  explicit Writer(const KvLayout& layout) : layout_(layout) {}

  void write(const KvBlock& block, std::int64_t token, const float* key, const float* value) const {
    const std::int64_t row_bytes = layout_.value_row_bytes();
    std::byte* const row = block.values + token * row_bytes;  // of floats
    const std::int64_t dims = layout_.head_dim(), panel_bytes = layout_.panel_bytes();
    const std::int64_t width = round_up(dims, 32);
    static thread_local Scratch<std::uint16_t> scratch;
    std::uint16_t* halves = scratch.get(width);
    auto* codes = reinterpret_cast<std::int8_t*>(halves);
    std::fill_n(halves, width, std::uint16_t{0});
    switch (layout_.type()) {
      case KvType::f32:
        scatter_key(key, dims, token, block.keys, panel_bytes);
        std::memset(row, 0, row_bytes);
        std::memcpy(row, value, dims * sizeof(float));
        break;
      case KvType::f16:
        narrow_(key, dims, halves);
        scatter_key(halves, dims, token, block.keys, panel_bytes);
        narrow_(value, dims, halves);
        std::memcpy(row, halves, row_bytes);
        break;
      case KvType::int8:
        block.key_scale[token] = symmetric(key, codes);
        write_key_int8(codes, block.keys + token / kPanelTokens * panel_bytes, token % kPanelTokens);
        block.value_scale[token] = symmetric(value, codes);
        for (std::int64_t c = 0; c < row_bytes; ++c)
          block.values[value_byte_int8(row_bytes, token, c)] = static_cast<std::byte>(codes[c]);
        break;
      case KvType::int4: {
        const Affine of_key = affine(key, codes);
        block.key_scale[token] = of_key.scale;
        block.key_minimum[token] = of_key.minimum;
        write_key_int4(codes, block.keys + token / kPanelTokens * panel_bytes, token % kPanelTokens);
        const Affine of_value = affine(value, codes);
        block.value_scale[token] = of_value.scale;
        block.value_minimum[token] = of_value.minimum;
        for (std::int64_t c = 0; c < width; c += 32)
          for (std::int64_t b = 0; b < 16; ++b)
            block.values[value_byte_int4(row_bytes, token, c + b)] =
                static_cast<std::byte>(codes[c + b] | codes[c + 16 + b] << 4);
        break;
      }
    }
  }

 private:
  // codes of [-127, 127], x = scale * code; returns the scale.
  std::uint16_t symmetric(const float* x, std::int8_t* codes) const {
    const Extremes e = find_extremes_(x, layout_.head_dim());
    const std::uint16_t scale = float_to_f16(std::min(std::max(e.high, -e.low) / 127, kLargestHalf));
    encode_(x, layout_.head_dim(), {0, inverse_or_zero(f16_to_float(scale)), -127, 127}, codes);
    return scale;
  }
  // codes of [0, 15], x = minimum + scale * code.
  Affine affine(const float* x, std::int8_t* codes) const {
    const Extremes e = find_extremes_(x, layout_.head_dim());
    Affine affine;
    affine.minimum = float_to_f16(std::clamp(e.low, -kLargestHalf, kLargestHalf));
    const float minimum = f16_to_float(affine.minimum);
    affine.scale = float_to_f16(std::min((e.high - minimum) / 15, kLargestHalf));
    encode_(x, layout_.head_dim(), {minimum, inverse_or_zero(f16_to_float(affine.scale)), 0, 15}, codes);
    return affine;
  }

  void write_key_int8(const std::int8_t* codes, std::byte* panel, std::int64_t lane) const {
    for (std::int64_t c = 0; c < layout_.head_dim(); c += 4)
      for (std::int64_t b = 0; b < 4; ++b)
        panel[c * kPanelTokens + lane * 4 + b] = static_cast<std::byte>(codes[c + b] ^ 0x80);
  }
  void write_key_int4(const std::int8_t* codes, std::byte* panel, std::int64_t lane) const {
    for (std::int64_t c = 0; c < layout_.head_dim(); c += 8)
      for (std::int64_t b = 0; b < 4; ++b)
        panel[c / 2 * kPanelTokens + lane * 4 + b] = static_cast<std::byte>(codes[c + b] | codes[c + 4 + b] << 4);
  }

  const KvLayout& layout_;
  const Narrow narrow_ = narrow_kernel();
  const FindExtremes find_extremes_ = find_extremes_kernel();
  const Encode encode_ = encode_kernel();
};

// Reads single values back.
class Reader {
 public:
  Reader(const KvLayout& layout, const KvBlock& block) : layout_(layout), block_(block) {}

  float key(std::int64_t token, std::int64_t c) const {
    const std::byte* panel = block_.keys + token / kPanelTokens * layout_.panel_bytes();
    const std::int64_t lane = token % kPanelTokens;
    switch (layout_.type()) {
      case KvType::f32:
        return reinterpret_cast<const float*>(panel)[c * kPanelTokens + lane];
      case KvType::f16:
        return f16_to_float(reinterpret_cast<const std::uint16_t*>(panel)[c * kPanelTokens + lane]);
      case KvType::int8: {
        const auto code = static_cast<int>(panel[c / 4 * 64 + lane * 4 + c % 4]) - 128;
        return f16_to_float(block_.key_scale[token]) * static_cast<float>(code);
      }
      case KvType::int4: {
        const auto byte = static_cast<int>(panel[c / 8 * 64 + lane * 4 + c % 4]);
        const int code = c % 8 < 4 ? byte & 15 : byte >> 4;
        return f16_to_float(block_.key_minimum[token]) +
               f16_to_float(block_.key_scale[token]) * static_cast<float>(code);
      }
    }
    return 0;
  }

  float value(std::int64_t token, std::int64_t c) const {
    const std::int64_t row_bytes = layout_.value_row_bytes();
    const std::byte* row = block_.values + token * row_bytes;
    switch (layout_.type()) {
      case KvType::f32:
        return reinterpret_cast<const float*>(row)[c];
      case KvType::f16:
        return f16_to_float(reinterpret_cast<const std::uint16_t*>(row)[c]);
      case KvType::int8:
        return f16_to_float(block_.value_scale[token]) *
               static_cast<float>(static_cast<std::int8_t>(block_.values[value_byte_int8(row_bytes, token, c)]));
      case KvType::int4: {
        const auto byte = static_cast<int>(block_.values[value_byte_int4(row_bytes, token, c)]);
        const int code = c % 32 < 16 ? byte & 15 : byte >> 4;
        return f16_to_float(block_.value_minimum[token]) +
               f16_to_float(block_.value_scale[token]) * static_cast<float>(code);
      }
    }
    return 0;
  }

 private:
  const KvLayout& layout_;
  const KvBlock& block_;
};

}  // namespace

void store_kv(std::span<const KvSequence> sequences, Matrix<const float> k, Matrix<const float> v) {
  if (sequences.empty()) return;
  const KvLayout& layout = sequences.front().pages.layout;
  const Writer writer(layout);
  const std::int64_t heads = layout.kv_heads();
  const auto one_head = [&](std::int64_t i) {
    const KvSequence& sequence = sequences[i / heads];
    const std::int64_t head = i % heads, column = head * layout.head_dim();
    for (std::int64_t t = 0; t < sequence.tokens; ++t) {
      const std::int64_t position = sequence.start + t;
      writer.write(sequence.pages.block(position / kPageTokens, head), position % kPageTokens,
                   k.row(sequence.row + t) + column, v.row(sequence.row + t) + column);
    }
  };
  constexpr std::int64_t kFewNumbers = 4096;  // about what a dispatch costs
  const std::int64_t jobs = static_cast<std::int64_t>(sequences.size()) * heads;
  if (k.rows * k.cols > kFewNumbers) return parallel_for(jobs, one_head);
  for (std::int64_t i = 0; i < jobs; ++i) one_head(i);
}

void load_kv(const KvPages& pages, Matrix<float> k, Matrix<float> v) {
  const std::int64_t dims = pages.layout.head_dim();
  for (std::int64_t t = 0; t < k.rows; ++t) {
    for (std::int64_t head = 0; head < pages.layout.kv_heads(); ++head) {
      const KvBlock block = pages.block(t / kPageTokens, head);
      const Reader reader(pages.layout, block);
      for (std::int64_t c = 0; c < dims; ++c) {
        k(t, head * dims + c) = reader.key(t % kPageTokens, c);
        v(t, head * dims + c) = reader.value(t % kPageTokens, c);
      }
    }
  }
}

}  // namespace vernier::kernels
