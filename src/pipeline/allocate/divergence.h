// How far the model's predictions move when one tensor of it changes: mean KL(model || changed model) per token.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arch/source.h"
#include "pipeline/calibration.h"
#include "runtime/executor.h"

namespace vernier {

// Walks the graphs of a model (embedding, blocks, head) with a few sequences; what comes before the walk's place is
// not computed again.
class OutputDivergence {
 public:
  // About `tokens` tokens: whole sequences, evenly spread over the calibration set.
  static Result<std::unique_ptr<OutputDivergence>> make(const ModelSource& source, const CalibrationSet& calibration,
                                                        Executor& executor, std::int64_t tokens);

  // With `matrix` for every use of tensor `name`, whose first use must be in the graph the walk is at.
  Result<double> with(const std::string& name, const std::shared_ptr<const WeightMatrix>& matrix);
  Status advance();  // to the next graph

  std::int64_t tokens() const { return tokens_; }
  // Resident bytes for a model of this shape, its mapped weights not counted.
  static std::int64_t bytes(const ModelGraph& model, std::int64_t tokens);

 private:
  OutputDivergence(const ModelSource& source, Executor& executor) : source_(source), executor_(executor) {}
  Result<Buffer> run(std::size_t graph, const WeightTable& weights, const Batch& batch, const Buffer& input) const;
  // From the walk's place to the head's input, with these tables for the graphs.
  Result<Buffer> hidden(const std::vector<WeightTable>& tables, std::size_t unit) const;
  Result<Buffer> logits(const WeightTable& head, const Buffer& hidden, std::int64_t first, std::int64_t rows) const;
  Status divergences(const WeightTable& head, const Buffer& hidden, std::size_t unit, std::vector<double>& out) const;

  const ModelSource& source_;
  Executor& executor_;
  std::vector<const Graph*> graphs_;
  std::vector<WeightTable> tables_;  // [graphs]
  std::size_t place_ = 0;
  std::vector<std::vector<TokenId>> ids_;  // by unit
  std::vector<Batch> batches_;
  std::vector<Buffer> inputs_, reference_;  // by unit: the walk's hidden states, and those before the head
  std::vector<Buffer> reference_logits_;    // by unit; none where they are too large to keep
  std::int64_t tokens_ = 0;
};

}  // namespace vernier
