// compressed-tensors. Tensors of one module (handbook, formats, part 2):
//
//   pack-quantized (weight only)
//     weight_packed        I32 [out, ceil(in * bits / 32)]     codes q + 2^(bits-1), one dense little-endian bit string
//                                                              a row
//     weight_scale         [out, in / group], [out, 1]
//     weight_zero_point    I32 [ceil(out * bits / 32), groups] asymmetric: codes of 0, a bit string down each column
//     weight_shape         I64 [2]
//     weight_g_idx         I32 [in]                            older releases: group of each column
//   int-quantized (with 8-bit inputs)
//     weight               I8  [out, in]
//     weight_scale         [out, 1] or [1]
//   float-quantized
//     weight               F8_E4M3 [out, in]
//     weight_scale         [out, 1], [1] or, of blocks, [ceil(out / rows), in / columns]
//   nvfp4-pack-quantized
//     weight_packed        U8 [out, in / 2]                    E2M1, the even column in the low nibble
//     weight_scale         F8_E4M3 [out, in / 16]
//     weight_global_scale  F32 [1]                             scales are divided by it
//   mxfp4-pack-quantized
//     weight_packed        as above
//     weight_scale         U8 [out, in / 32]                   E8M0
//   with 8-bit inputs
//     input_scale          F32 [1]                             static inputs
//     input_zero_point     I8  [1]                             static asymmetric inputs: signed code of 0
//
// Releases before 0.10 padded 3, 5, 6 and 7 bit codes to floor(32 / bits) a word; the reader tells by the width.
#pragma once

#include <memory>
#include <vector>

#include "containers/container.h"

namespace vernier::compressed_tensors {

Status accepts(const OutputPlan& plan);
std::vector<TensorEntry> layout(const WeightPlan& weight);
Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part);
Result<Json> config(const OutputPlan& plan);
Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint);

}  // namespace vernier::compressed_tensors
