// Causal attention over the pages of the KV cache, for a batch of sequences.
#pragma once

#include <span>

#include "kernels/kv/page.h"
#include "kernels/ops.h"

namespace vernier::kernels {

// q and out [rows, heads * head_dim]; every sequence's pages hold positions [0, start + tokens), its own rows included
// (store_kv). shape.start is not read. A row's result depends on its position and the pages alone: not on the thread
// count, on the other rows of the batch, or on how its prompt was cut into batches. Keys are taken in chunks of 512
// positions, counted from position 0, whose partial results are merged in rising order.
void paged_attention(Matrix<const float> q, std::span<const KvSequence> sequences, const AttentionShape& shape,
                     Matrix<float> out);

}  // namespace vernier::kernels
