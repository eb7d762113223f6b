// Grids: which values a weight may take. A grid is a codec (how a code becomes a number) on a scale layout (which
// weights share parameters). Solvers choose codes on a grid without knowing its name; containers store what they can.
//
// How the cases of design.md, "What the seams must survive", pass through:
//  - K-quants: a group is a sub-block, fitted alone; settle_row() gives those of a super-block their quantized scales.
//  - block scales, a float of the whole tensor: rows are fitted alone, then settle_rows() gives them what they share.
//  - dual-grained integers: groups are fitted alone, then settle_row() gives those of a row one coarse scale.
//  - vectors, trellis: span() > 1; round() receives span() columns at a time and codes are opaque bytes.
//  - codebooks per tensor: learned by fit_tensor() before any round(); kept in GridPart::table.
//  - sums of parts: WeightRecord::parts; a part is a grid, or dense, later sparse or low rank, each with its own
//  storage.
//  - permuted columns, several grids along one axis: GridPart::group_of_column, and one part per column range.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

// What a recipe says of a weight's numbers. `group`: columns that share parameters; 0 the whole row ("channel"),
// -1 the whole tensor. A last group may be shorter.
struct GridSpec {
  std::string format = "int";
  int bits = 4;
  bool symmetric = true;
  std::int64_t group = 128;
  DType scale_dtype = DType::f16;  // scales are rounded to it before codes are chosen
  std::int64_t group_rows = 1;     // rows that share parameters, too: blocks of group_rows x group

  std::string text() const;  // "int4 sym g128 f16"
  bool operator==(const GridSpec&) const = default;
};

class Grid {
 public:
  virtual ~Grid() = default;

  const GridSpec& spec() const { return spec_; }
  virtual std::int64_t span() const { return 1; }  // columns coded jointly
  std::int64_t group_columns(std::int64_t cols) const { return spec_.group > 0 ? spec_.group : cols; }
  std::int64_t groups(std::int64_t cols) const { return spec_.group > 0 ? (cols + spec_.group - 1) / spec_.group : 1; }
  bool per_tensor() const { return spec_.group == -1; }

  // Floats that describe one group, decoded values of what is stored (for affine integers: scale, zero point).
  virtual int params_per_group() const = 0;

  // Parameters whose grid covers [low, high] (low <= 0 <= high), already rounded to their stored type. Finite and
  // usable for every finite input, an all-zero range included.
  virtual void params_from_range(float low, float high, std::span<float> params) const = 0;

  // Whether 0 is a value of every group's grid.
  virtual bool exact_zero() const { return true; }

  // Parameters of one group by the grid's own search, as params_from_range leaves them; false where it has none.
  // `importance` weighs each value's error (empty: the grid's own weights).
  virtual bool fit(std::span<const float> /*values*/, std::span<const float> /*importance*/,
                   std::span<float> /*params*/) const {
    return false;
  }

  // Whether the groups of a row share something (a coarse scale). Then groups fitted one by one are not final until
  // settle_row() has seen all of a row, so a solver fits a row before it rounds any of it.
  virtual bool joint_groups() const { return false; }
  // Makes the parameters of a row's groups [groups, params_per_group], each from params_from_range or settled before,
  // fit together. `ratio`: what is shared, as a multiple of the least that holds the largest group; above 1 coarser
  // steps, below 1 the largest groups are clipped.
  virtual void settle_row(std::span<float> /*params*/, float /*ratio*/ = 1) const {}

  // Rows whose groups share something (blocks of rows, a float of the tensor): 1 none, 0 all of them. Their parameters
  // are fitted row by row, final only after settle_rows() has seen those of joint_rows() rows from a multiple of it on,
  // and all of them before any code is chosen.
  virtual std::int64_t joint_rows() const { return 1; }
  // As settle_row(), for the parameters [rows, groups, params_per_group] of `rows` rows.
  virtual void settle_rows(std::int64_t /*rows*/, std::span<float> /*params*/) const {}

  // Other parameters of one settled group, near `params`, that leave what it shares with its row's groups as it is:
  // [result, params_per_group], at most most_nearby of them.
  static constexpr int most_nearby = 8;
  virtual int nearby(std::span<const float> /*params*/, std::span<float> /*out*/) const { return 0; }

  // Codes and decoded values of `values`, all of one group.
  virtual void encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
                      std::span<float> decoded) const = 0;
  virtual void decode(std::span<const std::uint8_t> codes, std::span<const float> params,
                      std::span<float> out) const = 0;

  // Codes and decoded values of one column of `count` rows, row i under params[p][i] for parameter p.
  virtual void encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                             float* decoded) const = 0;

  // Stored bits per weight of a rows x cols tensor, parameters included (handbook, rounding, "Bit accounting").
  virtual double bits_per_weight(std::int64_t rows, std::int64_t cols) const = 0;

 protected:
  explicit Grid(GridSpec spec) : spec_(std::move(spec)) {}
  GridSpec spec_;
};

// One quantized addend of a weight, in logical form: codes and parameters, no packing.
struct GridPart {
  std::shared_ptr<const Grid> grid;
  std::int64_t rows = 0, cols = 0;
  std::vector<std::uint8_t> codes;            // [rows, cols], one byte a code
  std::vector<float> params;                  // [rows, groups, params_per_group]; per tensor: [params_per_group]
  std::vector<std::int32_t> group_of_column;  // [cols]; empty: column / group

  std::int64_t groups() const { return grid->groups(cols); }
  std::span<const float> params_of(std::int64_t row, std::int64_t group) const;
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const;  // out [count, cols]
};

// An unquantized addend: float in its stored type.
struct DensePart {
  Tensor values;
};

using Part = std::variant<GridPart, DensePart>;

// A weight as the sum of its parts; all have the same shape [rows, cols].
struct WeightRecord {
  std::int64_t rows = 0, cols = 0;
  std::vector<Part> parts;

  void decode_rows(std::int64_t first, std::int64_t count, float* out) const;
};

// A weight matrix that can be read a few rows at a time, whatever it is stored as. Thread-safe.
class WeightMatrix {
 public:
  virtual ~WeightMatrix() = default;
  virtual std::int64_t rows() const = 0;
  virtual std::int64_t cols() const = 0;
  virtual void decode_rows(std::int64_t first, std::int64_t count, float* out) const = 0;  // out [count, cols]
  virtual std::int64_t stored_bytes() const = 0;
  virtual std::string format_text() const = 0;  // "bf16", "int4 sym g128 f16"
  // The matrix itself when it is stored as contiguous floats, else an empty one.
  virtual Matrix<const float> dense() const { return {}; }
  // Reads the matrix's memory once, every part by the worker that products will have read it, so that on a machine with
  // several memory nodes a mapped file comes to lie near its readers.
  virtual void touch() const {}
};

// One stored tensor of a packed weight: `suffix` is appended to the weight's name ("codes", "scale").
struct StoredTensor {
  std::string suffix;
  DType dtype = DType::u8;
  Shape shape;
};

// What codes and parameters mean to integer kernels, as the parameters of formats/int and formats/dual lie.
enum class CodeArithmetic : std::uint8_t {
  other,   // none of these: decoded to floats
  affine,  // scale * (code - zero), {scale, zero} of a group
  dual,    // coarse * (fine * (code - zero)), {coarse, fine, zero}
};

// What a format registers (src/formats/UNITS).
struct FormatDescriptor {
  std::string_view name;     // "int"
  std::string_view summary;  // one line for `vernier list formats`
  // Refuses specs it cannot hold, naming the key, what was wanted and what was found.
  Result<std::unique_ptr<Grid>> (*make)(const GridSpec& spec);
  // The tensors a rows x cols weight is stored as; exact, from shapes alone.
  std::vector<StoredTensor> (*layout)(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups);
  // Packs a part into those tensors, in the order of layout().
  std::vector<Tensor> (*pack)(const GridPart& part);
  // A matrix on packed tensors that stay in the caller's memory (same order); sizes are checked.
  Result<std::unique_ptr<WeightMatrix>> (*open)(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                                std::span<const TensorView> tensors);
  // The logical part back from packed tensors: unpack(pack(p)) equals p.
  Result<GridPart> (*unpack)(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                             std::span<const TensorView> tensors);
  // What scale_dtype "auto" of a recipe means; empty: the model's half-precision type.
  std::optional<DType> scale_dtype = {};
  // The one spec of a format whose name says everything; recipes need not repeat it.
  std::optional<GridSpec> fixed = {};
  CodeArithmetic arithmetic = CodeArithmetic::other;
};

std::span<const FormatDescriptor* const> formats();
Result<const FormatDescriptor*> find_format(std::string_view name);
Result<std::shared_ptr<const Grid>> make_grid(const GridSpec& spec);

// A matrix over float storage in somebody else's memory (keep_alive holds it), or over an owned tensor.
std::shared_ptr<const WeightMatrix> dense_matrix(TensorView view, std::shared_ptr<const void> keep_alive);
std::shared_ptr<const WeightMatrix> dense_matrix(Tensor tensor);
std::shared_ptr<const WeightMatrix> record_matrix(std::shared_ptr<const WeightRecord> record);

}  // namespace vernier
