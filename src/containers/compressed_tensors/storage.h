// Which of the package's formats a weight is written in.
#pragma once

#include <string>
#include <string_view>

#include "containers/container.h"

namespace vernier::compressed_tensors {

inline constexpr std::string_view kWeightSuffix = ".weight";

enum class Storage { words, bytes, floats, nvfp4, mxfp4 };

// Of a weight with a grid that accepts() took, or of any other grid: words.
Storage storage_of(const WeightPlan& weight);
std::string_view format_name(Storage storage);  // "pack-quantized"

std::string module_of(const WeightPlan& weight);

// The grid under which the stored tensors decode.
GridSpec stored_grid(const WeightPlan& weight);

}  // namespace vernier::compressed_tensors
