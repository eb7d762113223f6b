// Rotations of a whole model that fold into its weights, as rewrites of its tensors (QuaRot, Ashkboos et al. 2024;
// handbook, transforms, 2.2 and 5). The function of the float model stays.
#pragma once

#include "arch/residual.h"
#include "methods/rewritten_source.h"

namespace vernier {

// R1: the residual stream becomes x Q. Norm weights go into the linears that read them and become 1; a LayerNorm's bias
// b becomes (b / weight) Q, so that it needs no biases in its readers. Added to `rewrites`, which may hold others of
// the same tensors only where they do not touch the same side. Wants: q of the hidden width, keeping ones where the
// stream has a LayerNorm. Unsupported: a LayerNorm weight of 0.
Status rotate_residual(const ModelSource& base, const ResidualStream& stream, const OrthogonalPtr& q,
                       TensorRewrites& rewrites);

// R2: in every block each head of v becomes v Q, and o undoes it; one Q a block, from `seed`.
Status rotate_values(const ModelSource& base, std::uint64_t seed, TensorRewrites& rewrites);

}  // namespace vernier
