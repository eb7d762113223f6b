// Calibration samples on their way through one block. They are forwarded in fixed units of whole sequences; between
// stages the live values wait in spill files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "tensor/spill.h"

namespace vernier {

// Sequences [first_row / ctx, ...) forwarded at once.
struct ForwardUnit {
  std::int64_t first_row = 0;
  Batch batch;
};

struct SampleShape {
  std::int64_t samples = 0, ctx = 0;
  std::int64_t tokens() const { return samples * ctx; }
  // The same units whatever the budget; the last may be shorter.
  std::vector<ForwardUnit> units(std::int64_t sequences_at_once) const;
};

// Rows [first_row, first_row + x.rows) of a spill file, on all workers.
Status write_rows(SpillFile& file, std::int64_t first_row, Matrix<const float> x);
Status read_rows(const SpillFile& file, std::int64_t first_row, Matrix<float> x);

// Index of the first row with a value that is not finite, or -1.
std::int64_t first_bad_row(Matrix<const float> x);

// Embeds the samples' ids [samples * ctx] into `hidden`.
Status embed_samples(const ModelSource& source, std::span<const TokenId> ids, const SampleShape& shape,
                     Executor& executor, SpillFile& hidden);

// Most bytes of values at one moment of evaluating `targets` from the graph's input for `tokens` tokens, and what
// executors hold beside them.
std::int64_t forward_peak_bytes(const Graph& graph, const std::vector<ValueId>& targets, std::int64_t tokens);

class BlockForward {
 public:
  // `hidden` holds block.input for every token; scratch files are named `folder`/live.<value>.
  BlockForward(const Graph& block, Executor& executor, const SpillFile& hidden, SampleShape shape, std::string folder,
               DType dtype);
  ~BlockForward();  // removes the scratch files
  BlockForward(const BlockForward&) = delete;
  BlockForward& operator=(const BlockForward&) = delete;

  const std::vector<ForwardUnit>& units() const { return units_; }
  SampleShape shape() const { return shape_; }
  DType spill_dtype(ValueId value) const;

  // Spill files for `live`; open() before the advance, keep() after it drops all others.
  Status open(std::span<const ValueId> live);
  Status keep(std::span<const ValueId> live);
  bool spilled(ValueId value) const { return value == block_.input || files_.contains(value); }

  Status read(const ForwardUnit& unit, std::span<const ValueId> values, ValueTable& table) const;
  Status write(const ForwardUnit& unit, std::span<const ValueId> values, const ValueTable& table);

  // Evaluates `targets` from what `table` holds. Fails with the op and token where values stop being finite.
  Status evaluate(const WeightTable& weights, const ForwardUnit& unit, ValueTable& table,
                  std::span<const ValueId> targets) const;

 private:
  Error name_culprit(const WeightTable& weights, const ForwardUnit& unit, const std::vector<ValueId>& known,
                     std::span<const ValueId> targets, std::int64_t row) const;

  const Graph& block_;
  Executor& executor_;
  const SpillFile& hidden_;
  SampleShape shape_;
  std::vector<ForwardUnit> units_;
  std::string folder_;
  DType dtype_;
  std::map<ValueId, std::unique_ptr<SpillFile>> files_;
};

}  // namespace vernier
