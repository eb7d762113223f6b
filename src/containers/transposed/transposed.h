// Quantized linears stored transposed, as GPTQ and AWQ checkpoints do (handbook, formats, part 2). Tensors of a module:
//
//   scales   F16 [groups, out]
//   strings (GPTQ), b = 2, 3, 4 or 8 bits:
//     qweight  I32 [in * b / 32, out]      each column is the dense little-endian bit string of one output's codes
//     qzeros   I32 [groups, out * b / 32]  each row is the bit string of the codes of 0, less one in version 1
//     g_idx    I32 [in]                    group of each input
//   nibbles (AWQ), 4 bits:
//     qweight  I32 [in, out / 8], qzeros I32 [groups, out / 8]: nibble k of a word is output 8 * word + kNibble[k]
//
// A weight is scales[g, o] * (code[o, i] - zero[g, o]) with the code of 0 as in the format int.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "containers/container.h"

namespace vernier::transposed {

enum class Words { strings, nibbles };
inline constexpr int kNibble[8] = {0, 2, 4, 6, 1, 3, 5, 7};

// What the config says of all quantized modules.
struct Scheme {
  Words words = Words::strings;
  int bits = 4;
  bool symmetric = true;
  std::int64_t group = 128;     // columns; 0: the whole row
  bool zeros_less_one = false;  // GPTQ's version 1
  std::string where;            // ".../config.json: quantization_config"
};

// Every module with a qweight is quantized, the rest of the checkpoint is plain. Errors name the tensor, the wanted and
// the found element type or shape; zeros that contradict a symmetric scheme and groups out of range are errors, too.
Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint, const Scheme& scheme,
                                          const std::string& container);

// What both containers ask of one quantized weight.
Status accepts(const std::string& container, const WeightPlan& weight, Words words);
// The grid that all quantized weights of the plan share, or a refusal that names two that differ.
Result<GridSpec> one_grid(const std::string& container, const OutputPlan& plan);

std::vector<TensorEntry> layout(const WeightPlan& weight, Words words);
Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part, Words words, bool zeros_less_one);

}  // namespace vernier::transposed
