// Moving a per-channel factor along an edge, function unchanged (handbook, transforms, 1, B3):
// the producer's channel j is divided by factor[j], the consumers' columns that read it are multiplied by it.
#pragma once

#include <span>
#include <vector>

#include "arch/edges.h"
#include "methods/method.h"

namespace vernier {

// Rewrites the masters of `edge`'s producer (weight and bias) and consumers. `factor` [edge.channels]: finite and > 0,
// else `invalid`, with nothing changed. A norm with (unit_offset + w) keeps its offset.
Status fold_factor(BlockContext& block, const ScaleEdge& edge, std::span<const float> factor);

// The edges of `graph` whose factor can be stored: their norm has a weight, and some consumer is quantized.
std::vector<ScaleEdge> foldable_edges(const BlockContext& block);

// A factor of producer channels as one of consumer columns.
std::vector<float> factor_of_columns(const ScaleEdge& edge, std::span<const float> factor);

// Values of consumer columns as values of producer channels: the largest, or the mean, of the columns that share one.
std::vector<float> channel_max(const ScaleEdge& edge, std::span<const float> columns);
std::vector<float> channel_mean(const ScaleEdge& edge, std::span<const float> columns);

// columns of w times factor[column]
void scale_columns(Matrix<const float> w, std::span<const float> factor, Matrix<float> out);

}  // namespace vernier
