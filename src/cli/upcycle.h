// A dense checkpoint as a mixture of identical experts (sparse upcycling, Komatsuzaki et al. 2023, without the
// training): the same function, through the code of a mixture.
#pragma once

#include <cstdint>
#include <string>

#include "vernier/status.h"

namespace vernier {

// Reads a llama or mistral float checkpoint and writes a mixtral of `experts` experts, each the dense MLP. The router
// is random: the chosen experts' weights sum to 1 and their outputs are equal, so its values do not matter.
Status write_upcycled_model(const std::string& from, const std::string& folder, std::int64_t experts,
                            std::uint64_t seed, std::int64_t max_shard_bytes);

}  // namespace vernier
