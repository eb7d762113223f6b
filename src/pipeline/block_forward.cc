#include "pipeline/block_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/threads.h"
#include "pipeline/block_stages.h"

namespace vernier {
namespace {

constexpr std::int64_t spill_rows_at_once = 64;  // of one worker

// body(first, last) on pieces of [0, rows); the first failure in row order.
Status each_piece(std::int64_t rows, const std::function<Status(std::int64_t, std::int64_t)>& body) {
  std::vector<Status> results((rows + spill_rows_at_once - 1) / spill_rows_at_once);
  parallel_ranges(rows, spill_rows_at_once, [&](std::int64_t first, std::int64_t last) {
    results[first / spill_rows_at_once] = body(first, last);
  });
  for (Status& status : results) VN_TRY(std::move(status));
  return {};
}

}  // namespace

Status write_rows(SpillFile& file, std::int64_t first_row, Matrix<const float> x) {
  return each_piece(x.rows, [&](std::int64_t first, std::int64_t last) {
    return file.write(first_row + first, x.rows_slice(first, last - first));
  });
}

Status read_rows(const SpillFile& file, std::int64_t first_row, Matrix<float> x) {
  return each_piece(x.rows, [&](std::int64_t first, std::int64_t last) {
    return file.read(first_row + first, x.rows_slice(first, last - first));
  });
}

std::vector<ForwardUnit> SampleShape::units(std::int64_t sequences_at_once) const {
  std::vector<ForwardUnit> units;
  for (std::int64_t s = 0; s < samples; s += sequences_at_once) {
    units.push_back({s * ctx, Batch::uniform(std::min(sequences_at_once, samples - s), ctx)});
  }
  return units;
}

std::int64_t first_bad_row(Matrix<const float> x) {
  std::atomic<std::int64_t> first{x.rows};
  parallel_ranges(x.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      // A sum of zeros times the values is NaN exactly when one of them is not finite; it vectorises.
      float poison = 0;
      for (std::int64_t c = 0; c < x.cols; ++c) poison += 0 * x(r, c);
      if (poison == 0) continue;
      for (std::int64_t seen = first; r < seen && !first.compare_exchange_weak(seen, r);) {
      }
      return;
    }
  });
  return first < x.rows ? first.load() : -1;
}

Status embed_samples(const ModelSource& source, std::span<const TokenId> ids, const SampleShape& shape,
                     Executor& executor, SpillFile& hidden) {
  const Graph& embed = source.graph().embed;
  VN_ASSIGN(const WeightTable weights, load_weights(source, embed));
  const ValueId target[] = {embed.output};
  for (ForwardUnit& unit : shape.units(BlockEngine::forward_sequences(shape.ctx))) {
    unit.batch.ids = ids.subspan(unit.first_row, unit.batch.rows());
    ValueTable table(embed);
    VN_TRY(executor.evaluate(embed, weights, unit.batch, table, target));
    const std::int64_t row = first_bad_row(table[embed.output].matrix());
    if (row >= 0) {
      return fail(ErrorCode::invalid, "{}: the embedding of token {} is not finite", source.path(),
                  unit.batch.ids[row]);
    }
    VN_TRY(write_rows(hidden, unit.first_row, table[embed.output].matrix()));
  }
  source.release(embed);
  return {};
}

BlockForward::BlockForward(const Graph& block, Executor& executor, const SpillFile& hidden, SampleShape shape,
                           std::string folder, DType dtype)
    : block_(block),
      executor_(executor),
      hidden_(hidden),
      shape_(shape),
      units_(shape.units(BlockEngine::forward_sequences(shape.ctx))),
      folder_(std::move(folder)),
      dtype_(dtype) {}

BlockForward::~BlockForward() { static_cast<void>(keep({}).ok()); }

DType BlockForward::spill_dtype(ValueId value) const { return spills_exactly(block_, value) ? DType::f32 : dtype_; }

Status BlockForward::open(std::span<const ValueId> live) {
  for (const ValueId v : live) {
    if (spilled(v)) continue;
    VN_ASSIGN(files_[v], SpillFile::open(folder_ + "/live." + std::to_string(v), spill_dtype(v), shape_.tokens(),
                                         block_.values[v].width));
  }
  return {};
}

Status BlockForward::keep(std::span<const ValueId> live) {
  for (auto it = files_.begin(); it != files_.end();) {
    if (std::find(live.begin(), live.end(), it->first) != live.end()) {
      ++it;
      continue;
    }
    VN_TRY(it->second->remove());
    it = files_.erase(it);
  }
  return {};
}

Status BlockForward::read(const ForwardUnit& unit, std::span<const ValueId> values, ValueTable& table) const {
  for (const ValueId v : values) {
    Buffer buffer(unit.batch.rows(), block_.values[v].width);
    const SpillFile& file = v == block_.input ? hidden_ : *files_.at(v);
    VN_TRY(read_rows(file, unit.first_row, buffer.matrix()));
    table.set(v, std::move(buffer));
  }
  return {};
}

Status BlockForward::write(const ForwardUnit& unit, std::span<const ValueId> values, const ValueTable& table) {
  for (const ValueId v : values) VN_TRY(write_rows(*files_.at(v), unit.first_row, table[v].matrix()));
  return {};
}

Status BlockForward::evaluate(const WeightTable& weights, const ForwardUnit& unit, ValueTable& table,
                              std::span<const ValueId> targets) const {
  VN_TRY(check_interrupt());
  std::vector<ValueId> known;
  for (ValueId v = 0; v < static_cast<ValueId>(block_.values.size()); ++v) {
    if (table.has(v)) known.push_back(v);
  }
  VN_TRY(executor_.evaluate(block_, weights, unit.batch, table, targets));
  for (const ValueId v : targets) {
    const std::int64_t row = first_bad_row(table[v].matrix());
    if (row >= 0) return name_culprit(weights, unit, known, targets, block_.values[v].expert < 0 ? row : 0);
  }
  return {};
}

// Runs the unit again with every intermediate value kept, and names the first op whose output is not finite.
Error BlockForward::name_culprit(const WeightTable& weights, const ForwardUnit& unit, const std::vector<ValueId>& known,
                                 std::span<const ValueId> targets, std::int64_t row) const {
  std::string culprit = block_.name;
  ValueTable table(block_);
  std::vector<bool> given(block_.values.size(), false);
  for (const ValueId v : known) given[v] = true;
  const std::vector<int> ops = required_ops(block_, given, targets);
  std::vector<ValueId> outputs;
  for (const int i : ops) outputs.push_back(block_.ops[i].output);
  if (read(unit, known, table).ok() && executor_.evaluate(block_, weights, unit.batch, table, outputs).ok()) {
    for (const int i : ops) {
      if (first_bad_row(table[block_.ops[i].output].matrix()) < 0) continue;
      culprit = block_.ops[i].name;
      break;
    }
  }
  return with_hint(
      fail(ErrorCode::failed, "{}: {} is not finite in sample {} (calibration token {})", block_.name, culprit,
           (unit.first_row + row) / shape_.ctx, unit.first_row + row),
      "look at the weights with `vernier inspect`; more bits, or --set solver=rtn, may keep the block finite");
}

}  // namespace vernier
