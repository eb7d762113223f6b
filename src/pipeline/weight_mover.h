// The weights of one model into the files of another, a few rows at a time where the container stores rows one after
// another.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "arch/source.h"
#include "methods/method.h"
#include "pipeline/output_folder.h"
#include "pipeline/plan.h"
#include "pipeline/target_grids.h"

namespace vernier {

class WeightMover {
 public:
  // All outlive this. `plan` without its shards will do.
  WeightMover(const Plan& plan, const ModelSource& source, OutputFolder& output)
      : plan_(plan), source_(source), output_(output) {}

  // Writes `weight`; the relative error ||new - old|| / ||old|| of its values, 0 where codes or floats stay.
  Result<double> write(const SourceTensor& tensor, const WeightPlan& weight, const Move& move);

 private:
  struct Rounding {
    std::shared_ptr<const Grid> grid;
    std::unique_ptr<Range> range;
    std::unique_ptr<Solver> solver;
    double error = 0, norm = 0;  // sums of squares over the rows rounded so far
  };

  bool stored_alike(const SourceTensor& tensor, const WeightPlan& weight) const;
  Status copy_stored(const std::string& from, const std::string& to);
  Status copy_plain(const WeightPlan& weight);
  Result<double> write_floats(const WeightPlan& weight);
  Status write_typed(const WeightPlan& weight, std::int64_t first, const TensorView& rows);
  Result<double> round(const SourceTensor& tensor, const WeightPlan& weight, const Move& move);
  Result<GridPart> round_rows(const WeightMatrix& matrix, std::int64_t first, std::int64_t count,
                              const std::string& name, Rounding& rounding) const;
  Status write_part(const WeightPlan& weight, const GridPart& part);
  // Tensors of `weight` from its row `first` on.
  Status write_rows(const WeightPlan& weight, std::int64_t first, std::int64_t count, std::span<const Tensor> tensors);
  void release(const WeightPlan& weight) const;

  const Plan& plan_;
  const ModelSource& source_;
  OutputFolder& output_;
};

}  // namespace vernier
