// What a model of any kind gives an output: its tensors under their logical names, and the files beside them.
#pragma once

#include <string>
#include <vector>

#include "arch/source.h"
#include "io/checkpoint.h"
#include "io/tokenizer/gguf_companions.h"

namespace vernier {

// The plain type in which an output stores each tensor of `source` that it does not quantize, in the source's order.
// A tensor's own; but GGUF files keep vectors in F32, whatever they were made of: those whose values the 16-bit type of
// the file's embedding holds get that. bf16 for tensors that are quantized in a form nobody can take apart.
Result<std::vector<TensorEntry>> source_tensors(const ModelSource& source);

// Beside a folder's weights: files to copy. Of a GGUF file: files made of its metadata; where its tokenizer cannot be
// made, a warning says why.
struct Companions {
  std::vector<std::string> copied;
  std::vector<MadeFile> made;
};
Result<Companions> companions_of(const std::string& model, const Checkpoint& checkpoint);

}  // namespace vernier
