// What config.json calls an element type.
#pragma once

#include "vernier/tensor.h"

namespace vernier {

// "bfloat16", "float16", "float32"; "float32" for any other type.
constexpr const char* torch_name(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
}

}  // namespace vernier
