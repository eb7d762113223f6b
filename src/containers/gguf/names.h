// Tensor names of GGUF files and of Hugging Face checkpoints, and which rows llama.cpp stores in another order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace vernier::container_gguf {

// The GGUF architecture of a config.json: "llama" for Llama, Mistral and Mixtral. Empty where GGUF has none.
std::string architecture_of(const Json& config);

// What one stored tensor holds.
struct LogicalName {
  std::string name;          // of the checkpoint's tensor; "" where it has none
  std::int64_t expert = -1;  // which matrix of a stack, where the stored tensor is one
};

// "blk.2.attn_q.weight" -> "model.layers.2.self_attn.q_proj.weight"; a stack of experts gives a name for each of
// `experts`. Empty for a tensor that these models do not have.
std::vector<LogicalName> logical_names(std::string_view stored, std::int64_t experts);

// The other way; nothing for a tensor GGUF has no name for. Experts: the name of their stack, with `expert` set.
struct StoredName {
  std::string name;
  std::int64_t expert = -1;
};
std::optional<StoredName> stored_name(std::string_view logical);

// Where files written here have a tensor: the embedding, the layers, the final norm, the head; in a layer by kind.
// Sorts a model's tensors alike whatever order they come in.
std::pair<std::int64_t, std::size_t> file_order(std::string_view stored);

// Heads whose rows are interleaved in files of this architecture (q and k of "llama", weights and biases): stored row
// h d + 2 i + t is row h d + t d / 2 + i, for head h of d rows. 0 for all other tensors.
std::int64_t interleaved_heads(const Json& config, std::string_view stored);

// Stored row of each of `rows` rows with `heads` interleaved heads. rows must be a multiple of 2 heads.
std::vector<std::int32_t> stored_rows(std::int64_t rows, std::int64_t heads);

}  // namespace vernier::container_gguf
