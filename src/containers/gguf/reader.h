// A GGUF checkpoint (io/gguf/checkpoint.h) as a model.
#pragma once

#include "containers/container.h"
#include "containers/stored_source.h"

namespace vernier::container_gguf {

bool recognizes(const Json& config);
Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint);

}  // namespace vernier::container_gguf
