// A model as a GGUF file, or a split one.
#pragma once

#include "containers/container.h"
#include "io/gguf/types.h"

namespace vernier::container_gguf {

Status accepts(const OutputPlan& plan);
std::vector<TensorEntry> layout(const WeightPlan& weight);
Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part);
Result<Json> config(const OutputPlan& plan);
void prepare(OutputPlan& plan);
Result<std::vector<PlacedFile>> place(const OutputPlan& plan);
// The block type or float type that a weight is stored as.
const GgufType* type_of(const WeightPlan& weight);
Result<std::optional<Tensor>> rewrite(const WeightPlan& weight, const TensorView& values);

}  // namespace vernier::container_gguf
