// What a GGUF file says of a model besides its tensors.
#pragma once

#include <vector>

#include "containers/container.h"
#include "io/gguf/header_writer.h"

namespace vernier::container_gguf {

// general.*, sizes from config.json, and the tokenizer of the checkpoint's folder.
Status add_metadata(const OutputPlan& plan, GgufHeaderWriter& out);
// Whether add_metadata() can say all that config.json says.
Status check_metadata(const OutputPlan& plan);

}  // namespace vernier::container_gguf
