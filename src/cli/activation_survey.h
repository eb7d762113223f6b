// Outliers in what the linears of a model read, over a batch of tokens, one block in memory at a time.
#pragma once

#include <functional>
#include <vector>

#include "arch/source.h"
#include "vernier/tokenizer.h"

namespace vernier {

struct Sequences {
  std::int64_t count = 0, length = 0;
  std::vector<TokenId> ids;  // [count * length]
};

// Inputs of the linears of all blocks (those of single experts aside).
struct OutlierFigures {
  std::int64_t inputs = 0;
  // Of one input: the largest absolute value of the worst channel over that of the median channel, and the fourth
  // central moment over the squared variance (3 for a normal distribution) of all its values. Mean and worst of inputs.
  double channel_ratio = 0, worst_channel_ratio = 0;
  double kurtosis = 0, worst_kurtosis = 0;
};
Result<OutlierFigures> survey_outliers(const ModelSource& source, const Sequences& sequences);

// The `count` directions along which what the norms see (each token divided by its root mean square) is largest:
// eigenvectors of the largest eigenvalues of sum x^T x over the inputs of the blocks' norms and the head's, by subspace
// iteration. Unsupported: a hidden state above 16384, whose moments would need more than 1 GiB.
Result<std::vector<std::vector<double>>> principal_directions(const ModelSource& source, const Sequences& sequences,
                                                              std::int64_t count);

}  // namespace vernier
