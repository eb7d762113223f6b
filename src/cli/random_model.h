// Checkpoints of random weights, for tests of size and speed.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

struct ModelSize {
  std::string arch = "llama";
  std::int64_t hidden = 256, layers = 4, intermediate = 768, heads = 8, kv_heads = 0, vocab = 512;  // kv_heads 0: heads
  std::int64_t experts = 0;                                                                         // mixtures; 0: 8
  std::int64_t positions = 4096;
  bool tied_head = false;
  std::uint64_t seed = 0;
  DType dtype = DType::bf16;
};

// config.json as transformers reads it.
Result<Json> model_config(const ModelSize& size);

// Writes the whole folder. Linear and embedding weights are normal with deviation 0.02, norms 1, biases normal with
// deviation 0.01.
Status write_random_model(const std::string& folder, const ModelSize& size, std::int64_t max_shard_bytes);

}  // namespace vernier
