// Writes a float checkpoint of any size: config.json, shards, index. Tensors are produced one at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/safetensors.h"

namespace vernier {

// Writes all bytes of `entry` into `writer`, in one piece or in parts.
using FillTensor = std::function<Status(const TensorEntry& entry, SafetensorsWriter& writer)>;

// `folder` must not exist or be empty. Tensors are filled in the order given; a shard holds at most max_shard_bytes
// unless one tensor alone is larger. config.json is written last: a folder that has one is complete.
Status write_model(const std::string& folder, const Json& config, const std::vector<TensorEntry>& tensors,
                   std::int64_t max_shard_bytes, const FillTensor& fill);

// 64-bit FNV-1a of a name: the stream that its random values come from.
std::uint64_t name_hash(const std::string& name);

// Fills `entry` with deviation * normal + mean, value i of the tensor from draw i of (seed, name).
Status fill_normal(const TensorEntry& entry, SafetensorsWriter& writer, std::uint64_t seed, float mean,
                   float deviation);

}  // namespace vernier
