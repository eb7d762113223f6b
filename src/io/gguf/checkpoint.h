// A GGUF file (or the first part of a split one) as a Checkpoint: tensors under their GGUF names, and a config.json
// rebuilt from the metadata. Tensors of block types are U8, rows of whole blocks; config.quantization_config says their
// types:
//
//   {"quant_method": "gguf", "types": {"blk.0.attn_q.weight": "q4_k", ...}}
#pragma once

#include <memory>
#include <string>

#include "io/checkpoint.h"
#include "io/gguf/file.h"

namespace vernier {

bool is_gguf_path(const std::string& path);  // by its suffix
// The model.gguf of a folder, or the first part of a split one; "" where there is neither.
std::string gguf_in_folder(const std::string& folder);

Result<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path);

// The config.json of a Hugging Face folder with this model, without quantization_config. `tensors`: the table of all
// parts; `rope_factors`: the values of rope_freqs.weight, empty where there is none. Errors: an architecture that is
// not known, keys that are missing or that nothing here handles, a vocabulary that contradicts the embedding.
Result<Json> gguf_config(const GgufReader& metadata, const std::vector<GgufTensor>& tensors,
                         const std::vector<float>& rope_factors);

}  // namespace vernier
