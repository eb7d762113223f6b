// What a method registers (src/methods/UNITS) and the two interfaces it may implement. The pipeline knows methods only
// through this header.
//
// A Solver answers "which code does each weight get, given W, H and the grid?"; a Transform rewrites a block's float
// weights, function unchanged, before that. A recipe names any number of transforms and one solver.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "arch/edges.h"
#include "arch/graph.h"
#include "arch/source.h"
#include "formats/range.h"
#include "methods/hessian.h"
#include "runtime/executor.h"
#include "vernier/format.h"
#include "vernier/status.h"

namespace vernier {

// Option values as a recipe gives them, and the schema they are checked against.
using OptionValue = std::variant<bool, std::int64_t, double, std::string>;
struct OptionSchema {
  std::string_view name;
  OptionValue fallback;                   // its alternative is the option's type
  std::string_view help;                  // one line: meaning, unit, allowed values
  std::vector<std::string_view> choices;  // for strings; empty: any
};
class Options {
 public:
  explicit Options(std::vector<std::pair<std::string, OptionValue>> values) : values_(std::move(values)) {}
  bool flag(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  const std::vector<std::pair<std::string, OptionValue>>& values() const { return values_; }

 private:
  const OptionValue& at(std::string_view name) const;  // asserts: schemas fill every option
  std::vector<std::pair<std::string, OptionValue>> values_;
};

struct SolveInput {
  std::string name;            // for messages
  Matrix<const float> weight;  // [rows, cols]
  std::shared_ptr<const Grid> grid;
  const Range* range = nullptr;
  const Hessian* hessian = nullptr;    // null for data-free solvers; shared by linears of one input, never changed
  bool column_groups_allowed = false;  // whether the container can store group_of_column
  // [cols] of each column's error when parameters are fitted: the mean square of its input, up to a common factor;
  // empty: all alike.
  std::span<const float> importance{};
};

struct SolveReport {
  double error_rtn = 0;  // tr(E H E^T) / tr(W H W^T) of round to nearest; plain squared error without H
  double error = 0;      // the same of the result
  double damp = 0;       // fraction of the mean diagonal that was added in the end
  std::int64_t dead_columns = 0;
  std::string note;  // a fallback that was taken, or empty
};

class Solver {
 public:
  virtual ~Solver() = default;
  // Same bytes at any thread count. Never worse than round to nearest under the same H (per row the better is kept).
  virtual Result<GridPart> solve(const SolveInput& input, SolveReport& report) = 0;
  // Linears of one input arrive one after another with the same hessian: work on it may be kept until this is called.
  virtual void release_hessian() {}
  // Bytes held while solving one rows x cols weight, the Hessian itself not counted.
  virtual std::int64_t working_bytes(std::int64_t rows, std::int64_t cols) const = 0;
};

// Per-channel statistics of a value over the calibration tokens.
struct ChannelStats {
  std::vector<float> absmax, mean_abs, min, max;  // [width]
  std::int64_t tokens = 0;
};

// A captured subset of calibration: whole sequences, the values asked for, in float.
struct Capture {
  Batch batch;
  ValueTable values;
};

// What a transform may see and do inside one block. Masters are f32 copies of the block's tensors; changes to them are
// what the solver, later stages and the written model see.
class BlockContext {
 public:
  virtual ~BlockContext() = default;

  virtual const Graph& graph() const = 0;
  virtual int index() const = 0;                        // of the block
  virtual Result<Tensor*> master(TensorId tensor) = 0;  // loaded on first use; stays until the block is done
  virtual Status master_changed(TensorId tensor) = 0;   // call after writing to it: executors see the new values
  virtual const WeightTable& weights() const = 0;       // current weights, changed masters included
  virtual Executor& executor() = 0;

  // Statistics of `values` on the block's inputs (quantized predecessors), with the current weights, one pass for all.
  virtual Result<std::vector<ChannelStats>> channel_stats(std::span<const ValueId> values) = 0;
  // `values` of the first sequences, up to `max_tokens` tokens in all, with the current weights.
  virtual Result<Capture> capture(std::span<const ValueId> values, std::int64_t max_tokens) = 0;

  // The grid and range the recipe gives a linear's weight; null when it stays in high precision.
  virtual std::shared_ptr<const Grid> grid(int linear_op) const = 0;
  virtual const Range* range(int linear_op) const = 0;
  // The quantizer the recipe puts on a linear's input, static ones without their scale yet; none: stays float.
  virtual std::optional<ActivationSpec> activation(int /*linear_op*/) const { return std::nullopt; }
  virtual void note(std::string text) = 0;  // goes into the block's record
};

class Transform {
 public:
  virtual ~Transform() = default;
  virtual Status apply(BlockContext& block) = 0;
  virtual std::int64_t working_bytes(const Graph& block, std::int64_t max_tokens) const = 0;
};

struct MethodDescriptor {
  enum class Role { solver, transform };
  std::string_view name;     // "gptq"
  std::string_view summary;  // one line for `vernier list methods`
  std::string_view source;   // paper or project
  Role role = Role::solver;
  bool needs_hessian = false;      // solvers
  bool needs_calibration = false;  // implied by needs_hessian
  std::vector<OptionSchema> options;
  std::unique_ptr<Solver> (*make_solver)(const Options&) = nullptr;        // role solver
  std::unique_ptr<Transform> (*make_transform)(const Options&) = nullptr;  // role transform
  // Transforms that change tensors of all blocks together, before any is quantized, and need no calibration: the model
  // as they rewrite it, tensor by tensor when asked, function unchanged. Instead of make_transform.
  Result<std::unique_ptr<ModelSource>> (*rewrite_model)(std::shared_ptr<const ModelSource> model, const Options&,
                                                        std::vector<std::string>& notes) = nullptr;
  // Checks option values that a schema cannot express; null: none.
  Status (*validate)(const Options&) = nullptr;
  // Solvers: whether these options yield group_of_column, which the container must then store; null: never.
  bool (*column_groups)(const Options&) = nullptr;
  // Solvers: whether these options want SolveInput::importance, which calibration then has to give; null: never.
  bool (*needs_importance)(const Options&) = nullptr;
};

std::span<const MethodDescriptor* const> methods();
Result<const MethodDescriptor*> find_method(std::string_view name);

// A choice's options, typed and completed from the method's schema. Unknown names (the nearest is suggested), wrong
// types and values outside `choices` are refused.
Result<Options> resolve_options(const MethodDescriptor& method,
                                const std::vector<std::pair<std::string, std::string>>& given);

}  // namespace vernier
