// What formats share when they read packed tensors back: nothing of a file is trusted.
#pragma once

#include <span>
#include <vector>

#include "vernier/format.h"

namespace vernier {

// `found` are the tensors of a rows x cols weight as `layout` lists them, with or without the trailing column_group.
// Refuses unusable shapes, and tensors of another number, type, shape or size than the layout's, naming the tensor.
Status check_stored_tensors(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                            std::span<const TensorView> found, decltype(FormatDescriptor::layout) layout);

// The I32 tensor column_group, every entry in [0, groups).
Result<std::vector<std::int32_t>> read_column_groups(const GridSpec& spec, const TensorView& tensor,
                                                     std::int64_t groups);

// Stored bits per weight of a layout.
double layout_bits_per_weight(std::span<const StoredTensor> layout, std::int64_t rows, std::int64_t cols);

}  // namespace vernier
