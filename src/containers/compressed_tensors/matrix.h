// Quantized weights of compressed-tensors, decoded from the mapped tensors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "containers/compressed_tensors/scheme.h"
#include "containers/compressed_tensors/words.h"
#include "io/checkpoint.h"
#include "vernier/format.h"

namespace vernier::compressed_tensors {

// The stored tensors of one module's weight, sizes checked against each other.
struct ModuleTensors {
  enum class Zeros { none, packed, bytes };  // bytes: I8, shaped like the scales

  std::int64_t rows = 0, cols = 0, groups = 1;
  int bits = 8;
  bool symmetric = true;
  std::int64_t group = 0;  // columns; 0: channel, -1: tensor
  DType scale_dtype = DType::f16;
  bool words = true;  // I32 words, else one I8 a code
  Packing packing = Packing::dense, zero_packing = Packing::dense;
  Zeros zeros = Zeros::none;
  std::string codes_name, scale_name, zero_name, column_group_name;  // "" where there is none, or only the trivial one
  std::vector<std::string> names;                                    // all of them, weight_shape too

  std::int64_t scale_rows() const { return group == -1 ? 1 : rows; }
  GridSpec grid() const { return {"int", bits, symmetric, group, scale_dtype}; }
};

// Errors name the tensor, the wanted and the found element type or shape.
Result<ModuleTensors> find_tensors(const Checkpoint& checkpoint, const Group& group, const std::string& module);

// A matrix on the mapping; the bytes stay there.
Result<std::shared_ptr<const WeightMatrix>> open_matrix(const Checkpoint& checkpoint, const ModuleTensors& tensors);

// Its codes and parameters.
Result<GridPart> read_part(const Checkpoint& checkpoint, const ModuleTensors& tensors);

}  // namespace vernier::compressed_tensors
