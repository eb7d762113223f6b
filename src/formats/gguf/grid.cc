#include "formats/gguf/grid.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/vectorize.h"
#include "formats/stored_tensors.h"
#include "tensor/convert.h"
#include "tensor/sums.h"

namespace vernier {
namespace {

constexpr float lowest_half = 0x1p-24f, highest_half = 65504.0f;

VN_VECTORIZED void encode_uniform(const float* __restrict values, std::int64_t count, float step, float offset,
                                  float zero, float highest, std::uint8_t* __restrict codes,
                                  float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) {
    float q = std::rint((values[i] + offset) / step) + zero;
    q = q > 0 ? q : 0;  // also catches NaN
    q = q < highest ? q : highest;
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(q));
    decoded[i] = step * (q - zero) - offset;
  }
}

// The same for one column of rows with steps and offsets of their own.
VN_VECTORIZED void encode_uniform_column(const float* __restrict values, std::int64_t count,
                                         const float* __restrict step, const float* __restrict offset, float zero,
                                         float highest, std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) {
    float q = std::rint((values[i] + offset[i]) / step[i]) + zero;
    q = q > 0 ? q : 0;
    q = q < highest ? q : highest;
    q = step[i] == 0 ? zero : q;
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(q));
    decoded[i] = step[i] * (q - zero) - offset[i];
  }
}

// nearest_code() of (value + offset) / step in a table.
VN_VECTORIZED void encode_table_column(const float* __restrict values, std::int64_t count, const float* __restrict step,
                                       const float* __restrict offset, const std::int8_t* __restrict table, int levels,
                                       int zero, std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float t = step[i] == 0 ? 0.0f : (values[i] + offset[i]) / step[i];
    float least = std::numeric_limits<float>::infinity(), best = static_cast<float>(table[zero]);
    int code = zero;
    for (int c = 0; c < levels; ++c) {
      const float level = static_cast<float>(table[c]), error = std::fabs(t - level);
      const bool nearer = error < least;
      least = nearer ? error : least;
      best = nearer ? level : best;
      code = nearer ? c : code;
    }
    codes[i] = static_cast<std::uint8_t>(step[i] == 0 ? zero : code);
    decoded[i] = step[i] == 0 ? 0.0f - offset[i] : step[i] * best - offset[i];
  }
}

VN_VECTORIZED void decode_uniform(const std::uint8_t* __restrict codes, std::int64_t count, float step, float offset,
                                  float zero, float* __restrict out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = step * (static_cast<float>(codes[i]) - zero) - offset;
}

void encode_values(const BlockType& type, const float* values, std::int64_t count, float step, float offset,
                   std::uint8_t* codes, float* decoded) {
  if (step == 0) {
    std::fill_n(codes, count, static_cast<std::uint8_t>(type.zero));
    std::fill_n(decoded, count, 0.0f - offset);
  } else if (!type.table) {
    encode_uniform(values, count, step, offset, static_cast<float>(type.zero), static_cast<float>(type.levels - 1),
                   codes, decoded);
  } else {
    constexpr std::int64_t most = gguf_largest_block;
    float steps[most], offsets[most];
    std::fill_n(steps, std::min(count, most), step);
    std::fill_n(offsets, std::min(count, most), offset);
    for (std::int64_t i = 0; i < count; i += most)
      encode_table_column(values + i, std::min(most, count - i), steps, offsets, type.table, type.levels, type.zero,
                          codes + i, decoded + i);
  }
}

}  // namespace

float stored_half(float value) {
  const float magnitude =
      std::clamp(round_to(DType::f16, std::min(std::fabs(value), highest_half)), lowest_half, highest_half);
  return std::signbit(value) ? -magnitude : magnitude;
}

float stored_half_or_zero(float value) { return round_to(DType::f16, std::clamp(value, -highest_half, highest_half)); }

StepOffset search_step(const SearchType& search, std::span<const float> values, std::span<const float> importance) {
  const double square = sum_of_squares(values);
  SearchBatch batch;
  SearchLines lines;
  load_batch(search.type, values, importance, square / static_cast<double>(values.size()), 0, 1, batch);
  search_lines(search, batch, lines);
  return {lines.step[0] / batch.unit[0], lines.offset[0] / batch.unit[0]};
}

std::uint8_t nearest_code(const BlockType& type, float t) {
  int best = type.zero;
  float least = std::numeric_limits<float>::infinity();
  for (int code = 0; code < type.levels; ++code) {
    const float error = std::fabs(t - type.level(code));
    if (error < least) least = error, best = code;
  }
  return static_cast<std::uint8_t>(best);
}

void decode_block_codes(const BlockType& type, std::span<const std::uint8_t> codes, std::span<const float> params,
                        float* out) {
  const float step = params[block_d] * params[block_scale], offset = params[block_dmin] * params[block_min];
  const auto count = static_cast<std::int64_t>(codes.size());
  if (!type.table) return decode_uniform(codes.data(), count, step, offset, static_cast<float>(type.zero), out);
  for (std::int64_t i = 0; i < count; ++i) out[i] = step * static_cast<float>(type.table[codes[i]]) - offset;
}

Result<std::unique_ptr<Grid>> BlockGrid::make(const GridSpec& spec) {
  const BlockType* type = find_block_type(spec.format);
  if (!type) return fail(ErrorCode::not_found, "no block type {}", spec.format);
  const GridSpec fixed = type->spec();
  if (spec != fixed)
    return fail(ErrorCode::unsupported,
                "format {}: the name says all: bits {}, {}, group {}, scale_dtype {}; found bits {}, {}, group {}, "
                "scale_dtype {}",
                spec.format, fixed.bits, fixed.symmetric ? "symmetric" : "asymmetric", fixed.group,
                vernier::name(fixed.scale_dtype), spec.bits, spec.symmetric ? "symmetric" : "asymmetric", spec.group,
                vernier::name(spec.scale_dtype));
  return std::unique_ptr<Grid>(new BlockGrid(*type, spec));
}

void BlockGrid::store(float step, float offset, std::span<float> params) const {
  if (type_.exponent) {
    step = std::ldexp(1.0f, std::clamp(std::ilogb(step), -128, 126));
  } else if (!type_.joint()) {
    step = stored_half(step);
    offset = stored_half_or_zero(offset);
  }
  params[block_d] = step;
  params[block_dmin] = offset;
  params[block_scale] = params[block_min] = 1;
}

void BlockGrid::params_from_range(float low, float high, std::span<float> params) const {
  const float largest = -low >= high ? low : high;
  if (largest == 0) {
    store(type_.joint() ? 0.0f : 1.0f, 0, params);
  } else if (type_.affine) {
    const auto steps = static_cast<float>(type_.levels - 1);
    store(high / steps - low / steps, -low, params);
  } else if (type_.exponent) {
    store(std::ldexp(1.0f, std::max(std::ilogb(largest) - 3, -128)), 0, params);  // the top level, 12, is 1.5 * 2^3
  } else if (type_.levels == 3) {
    store(std::fabs(largest), 0, params);
  } else {
    // The lowest level is the largest: it takes the entry of largest magnitude. Bytes keep to -127 .. 127.
    store(type_.bits == 8 ? std::fabs(largest) / 127 : largest / type_.level(0), 0, params);
  }
}

bool BlockGrid::fit(std::span<const float> values, std::span<const float> importance, std::span<float> params) const {
  const StepOffset found = search_step(search_, values, importance);
  if (found.step == 0 && found.offset == 0)
    params_from_range(0, 0, params);
  else
    store(found.step, found.offset, params);
  return true;
}

void BlockGrid::search_row(std::span<const float> row, std::span<const float> importance,
                           std::span<float> params) const {
  const auto cols = static_cast<std::int64_t>(row.size()), count = groups(cols);
  const double square = sum_of_squares(row) / static_cast<double>(std::max<std::int64_t>(1, cols));
  SearchBatch batch;
  SearchLines lines;
  for (std::int64_t first = 0; first < count; first += search_lanes) {
    const int lanes = static_cast<int>(std::min<std::int64_t>(search_lanes, count - first));
    load_batch(type_, row, importance, square, first, lanes, batch);
    search_lines(search_, batch, lines);
    float* const out = params.data() + first * block_params;
    if (type_.joint()) {
      settle_lines(search_, batch, lines, static_cast<int>(type_.groups()), lanes, out);
      continue;
    }
    for (int i = 0; i < lanes; ++i) {
      const std::span<float> p(out + i * block_params, block_params);
      if (lines.step[i] == 0 && lines.offset[i] == 0)
        params_from_range(0, 0, p);
      else
        store(lines.step[i] / batch.unit[i], lines.offset[i] / batch.unit[i], p);
    }
  }
}

void BlockGrid::settle_row(std::span<float> params, float ratio) const {
  if (!type_.joint()) return;
  const std::size_t span = static_cast<std::size_t>(type_.groups()) * block_params;
  const auto whole = [](float x, int low, int high) {
    return x == std::rint(x) && x >= static_cast<float>(low) && x <= static_cast<float>(high);
  };
  const auto low = static_cast<float>(type_.scale_low), high = static_cast<float>(type_.scale_high);
  for (std::size_t first = 0; first < params.size(); first += span) {
    const std::span<float> block = params.subspan(first, std::min(span, params.size() - first));
    bool settled = ratio == 1 && stored_half(block[block_d]) == block[block_d];
    float step = 0, offset = 0;  // of largest magnitude
    for (std::size_t i = 0; i < block.size(); i += block_params) {
      const float* const p = &block[i];
      settled = settled && p[block_d] == block[block_d] && p[block_dmin] == block[block_dmin] &&
                whole(p[block_scale], type_.scale_low, type_.scale_high) &&
                round_to(DType::f16, p[block_dmin]) == p[block_dmin] && whole(p[block_min], 0, 63);
      const float s = p[block_d] * p[block_scale];
      if (std::fabs(s) > std::fabs(step)) step = s;
      offset = std::max(offset, p[block_dmin] * p[block_min]);
    }
    if (settled) continue;
    // Signed scales: the one of largest magnitude takes the lowest integer, which has the largest magnitude.
    const float d = stored_half((type_.affine ? step / high : step / low) * ratio);
    const float dmin = type_.affine ? stored_half_or_zero(offset / high * ratio) : 0.0f;
    for (std::size_t i = 0; i < block.size(); i += block_params) {
      float* const p = &block[i];
      const float s = p[block_d] * p[block_scale], o = p[block_dmin] * p[block_min];
      p[block_d] = d;
      p[block_dmin] = dmin;
      p[block_scale] = std::clamp(std::rint(s / d), low, high);
      p[block_min] = !type_.affine ? 1.0f : dmin > 0 ? std::clamp(std::rint(o / dmin), 0.0f, high) : 0.0f;
    }
  }
}

std::span<const int> BlockGrid::shared_params() const {
  static constexpr int both[] = {block_d, block_dmin};
  return std::span(both).first(type_.exponent ? 0 : type_.affine ? 2 : 1);
}

int BlockGrid::nearby(std::span<const float> params, std::span<float> out) const {
  if (!type_.joint()) return 0;
  const auto low = static_cast<float>(type_.scale_low), high = static_cast<float>(type_.scale_high);
  const int mins = type_.affine && params[block_dmin] > 0 ? 1 : 0;
  int count = 0;
  for (int i = -1; i <= 1; ++i)
    for (int j = -mins; j <= mins; ++j) {
      const float scale = params[block_scale] + static_cast<float>(i), min = params[block_min] + static_cast<float>(j);
      if ((i == 0 && j == 0) || scale < low || scale > high || (type_.affine && (min < 0 || min > high))) continue;
      float* const p = out.data() + block_params * count++;
      std::copy_n(params.data(), block_params, p);
      p[block_scale] = scale;
      p[block_min] = min;
    }
  return count;
}

void BlockGrid::encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
                       std::span<float> decoded) const {
  encode_values(type_, values.data(), static_cast<std::int64_t>(values.size()), params[block_d] * params[block_scale],
                params[block_dmin] * params[block_min], codes.data(), decoded.data());
}

void BlockGrid::decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const {
  decode_block_codes(type_, codes, params, out.data());
}

void BlockGrid::encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                              float* decoded) const {
  constexpr std::int64_t most = 128;
  float step[most], offset[most];
  for (std::int64_t first = 0; first < count; first += most) {
    const std::int64_t rows = std::min(most, count - first);
    for (std::int64_t i = 0; i < rows; ++i) {
      step[i] = params[block_d][first + i] * params[block_scale][first + i];
      offset[i] = params[block_dmin][first + i] * params[block_min][first + i];
    }
    if (type_.table)
      encode_table_column(values + first, rows, step, offset, type_.table, type_.levels, type_.zero, codes + first,
                          decoded + first);
    else
      encode_uniform_column(values + first, rows, step, offset, static_cast<float>(type_.zero),
                            static_cast<float>(type_.levels - 1), codes + first, decoded + first);
  }
}

double BlockGrid::bits_per_weight(std::int64_t rows, std::int64_t cols) const {
  return layout_bits_per_weight(block_layout(spec_, rows, cols, false), rows, cols);
}

}  // namespace vernier
