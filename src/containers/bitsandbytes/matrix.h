// Weights of bitsandbytes, decoded from the mapped tensors. Of the weight W = "….weight" [rows, cols], with n elements
// in blocks of B along the flattened matrix:
//
//   4 bits
//     W                           U8 [ceil(n / 2), 1], or as many bytes in another type: the even element in the HIGH
//     half W.absmax                    F32 [ceil(n / B)]; double quantization: U8 codes of nested_quant_map W.quant_map
//     F32 [16]: the value of each code, times absmax W.nested_absmax             F32 [ceil(blocks / nested B)] absmax =
//     nested_quant_map[code] * this + offset W.nested_quant_map          F32 [256] W.quant_state.bitsandbytes__nf4 (or
//     __fp4)   U8: JSON with quant_type, blocksize, dtype, shape, nested_blocksize,
//                                                  nested_offset
//   8 bits
//     W                           I8 [rows, cols]
//     SCB                         F32 [rows], beside W: value = code * SCB / 127
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "vernier/format.h"

namespace vernier::bitsandbytes {

// The stored tensors of a 4-bit weight, sizes checked against each other.
struct NibbleTensors {
  std::int64_t rows = 0, cols = 0, block = 64, nested_block = 256;
  float nested_offset = 0;
  bool nested = false;
  std::string kind;  // "nf4", "fp4"
  std::string weight;
  std::vector<std::string> names;  // all of them

  std::int64_t blocks() const { return (rows * cols + block - 1) / block; }
};

// `state` is the tensor of JSON. Errors name the tensor, what was wanted and what was found.
Result<NibbleTensors> find_nibbles(const Checkpoint& checkpoint, const std::string& weight, const std::string& state);
Result<std::shared_ptr<const WeightMatrix>> open_nibbles(const Checkpoint& checkpoint, const NibbleTensors& tensors);

struct RowTensors {
  std::int64_t rows = 0, cols = 0;
  std::string weight, scale;
  std::vector<std::string> names;
};

Result<RowTensors> find_rows(const Checkpoint& checkpoint, const std::string& module);
Result<std::shared_ptr<const WeightMatrix>> open_rows(const Checkpoint& checkpoint, const RowTensors& tensors);

}  // namespace vernier::bitsandbytes
