// Rotary frequencies from a config: rope_theta and rope_scaling, or both inside rope_parameters.
#pragma once

#include "arch/architecture.h"

namespace vernier {

// Scaling rules: none, linear, dynamic, llama3, yarn; others are refused. `dynamic` changes nothing up to
// max_position_embeddings and depends on the sequence's length beyond: here its frequencies are those of every
// sequence up to ModelGraph::max_positions.
// Sources: linear, dynamic: kaiokendev 2023, bloc97 2023; llama3: Llama 3.1's reference code; yarn: Peng et al. 2023,
// equations 19-25 and the temperature of 3.4.
Result<Rope> read_rope(const ConfigReader& config, std::int64_t head_dim, std::int64_t max_positions,
                       double default_theta);

}  // namespace vernier
