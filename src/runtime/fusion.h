// Steps of a graph that run as one, with the same bits as one after the other.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "arch/graph.h"
#include "kernels/panel/rows.h"

namespace vernier {

struct Fusion {
  // By value: a norm or a product of two values that only products in integers read. It is quantized row by row as it
  // is computed, and never exists as floats.
  std::vector<bool> codes;
  // By value: a silu's output that only such a product of two values reads, which applies the silu itself.
  std::vector<bool> silu;
};

// `steps` are op indices in order, `keep` (by value) what must exist afterwards. integer_format says how the input of a
// linear op is quantized for a product in integers. There is one buffer of codes: a value is fused when no other one is
// quantized before its last reader.
Fusion find_fusion(const Graph& graph, std::span<const int> steps, const std::vector<bool>& keep,
                   const std::function<std::optional<kernels::RowsFormat>(int op)>& integer_format);

}  // namespace vernier
