// A quantized model as one GGUF file, model.gguf.
#pragma once

#include "containers/container.h"

namespace vernier::container_gguf {

Status accepts(const OutputPlan& plan);
std::vector<TensorEntry> layout(const WeightPlan& weight);
Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part);
Result<Json> config(const OutputPlan& plan);
void prepare(OutputPlan& plan);
Result<PlacedFile> place(const OutputPlan& plan);
Result<std::optional<Tensor>> rewrite(const WeightPlan& weight, const TensorView& values);

}  // namespace vernier::container_gguf
