// Element types of GGUF tensors. A type stores `block` columns of a row in `bytes` bytes (handbook, formats, GGUF v3).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "vernier/tensor.h"

namespace vernier {

struct GgufType {
  std::uint32_t id;  // as in the file
  std::string_view name;
  std::int64_t block;  // columns
  std::int64_t bytes;
  std::optional<DType> dtype = {};  // of types that are plain numbers
};

inline constexpr GgufType kGgufTypes[] = {
    {0, "f32", 1, 4, DType::f32},  {1, "f16", 1, 2, DType::f16},
    {2, "q4_0", 32, 18},           {3, "q4_1", 32, 20},
    {6, "q5_0", 32, 22},           {7, "q5_1", 32, 24},
    {8, "q8_0", 32, 34},           {10, "q2_k", 256, 84},
    {11, "q3_k", 256, 110},        {12, "q4_k", 256, 144},
    {13, "q5_k", 256, 176},        {14, "q6_k", 256, 210},
    {20, "iq4_nl", 32, 18},        {23, "iq4_xs", 256, 136},
    {24, "i8", 1, 1, DType::i8},   {25, "i16", 1, 2, DType::i16},
    {26, "i32", 1, 4, DType::i32}, {27, "i64", 1, 8, DType::i64},
    {28, "f64", 1, 8, DType::f64}, {30, "bf16", 1, 2, DType::bf16},
    {34, "tq1_0", 256, 54},        {35, "tq2_0", 256, 66},
    {39, "mxfp4", 32, 17},
};

// Null for a type that is not read here.
constexpr const GgufType* find_gguf_type(std::uint32_t id) {
  for (const GgufType& type : kGgufTypes)
    if (type.id == id) return &type;
  return nullptr;
}

constexpr const GgufType* find_gguf_type(std::string_view name) {
  for (const GgufType& type : kGgufTypes)
    if (type.name == name) return &type;
  return nullptr;
}

}  // namespace vernier
