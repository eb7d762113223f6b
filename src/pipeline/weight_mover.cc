#include "pipeline/weight_mover.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/fail.h"
#include "base/threads.h"
#include "formats/spread.h"
#include "tensor/convert.h"
#include "tensor/sums.h"

namespace vernier {
namespace {

constexpr std::size_t bytes_at_once = std::size_t{16} << 20;      // copied
constexpr std::int64_t elements_at_once = std::int64_t{4} << 20;  // decoded to floats
constexpr std::int64_t decode_rows_at_once = 16;                  // of one worker

WeightPlan rows_of(const WeightPlan& weight, std::int64_t count) {
  WeightPlan rows = weight;
  rows.shape = Shape{count, weight.shape[1]};
  return rows;
}

// Whether every tensor of the weight is that of its rows, one after another.
bool stores_rows(const ContainerDescriptor& container, const WeightPlan& weight) {
  if (weight.shape.rank() != 2 || weight.heads > 0) return false;
  const std::vector<TensorEntry> whole = container.layout(weight), row = container.layout(rows_of(weight, 1));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::vector<std::int64_t> dims = row[i].shape.dims();
    if (dims.empty() || dims[0] != 1) return false;
    dims[0] = weight.shape[0];
    if (whole[i].shape.dims() != dims) return false;
  }
  return true;
}

std::int64_t rows_at_once(std::int64_t cols) { return std::max<std::int64_t>(1, elements_at_once / cols); }

Tensor decode(const WeightMatrix& matrix, std::int64_t first, std::int64_t count) {
  Tensor values(DType::f32, Shape{count, matrix.cols()});
  float* const out = values.as<float>().data();
  parallel_ranges(count, decode_rows_at_once, [&](std::int64_t begin, std::int64_t end) {
    matrix.decode_rows(first + begin, end - begin, out + begin * matrix.cols());
  });
  return values;
}

double squares(const Tensor& values, std::int64_t cols) {
  const std::span<const float> all = values.as<float>();
  const auto rows = static_cast<std::int64_t>(all.size()) / cols;
  std::vector<double> sums(static_cast<std::size_t>(rows));  // by row, so that their sum does not depend on threads
  parallel_ranges(rows, decode_rows_at_once, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r)
      sums[r] = sum_of_squares(all.subspan(static_cast<std::size_t>(r * cols), static_cast<std::size_t>(cols)));
  });
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

// Rows of a part whose parameters are per row.
GridPart slice(const GridPart& part, std::int64_t first, std::int64_t count) {
  GridPart rows{.grid = part.grid, .rows = count, .cols = part.cols, .group_of_column = part.group_of_column};
  const std::int64_t params = part.groups() * part.grid->params_per_group();
  rows.codes.assign(part.codes.begin() + first * part.cols, part.codes.begin() + (first + count) * part.cols);
  rows.params.assign(part.params.begin() + first * params, part.params.begin() + (first + count) * params);
  return rows;
}

}  // namespace

void WeightMover::release(const WeightPlan& weight) const {
  Graph one;
  one.tensors.push_back({weight.name, weight.shape});
  source_.release(one);
}

bool WeightMover::stored_alike(const SourceTensor& tensor, const WeightPlan& weight) const {
  if (source_.container() != plan_.container->name || tensor.grid != weight.grid) return false;
  const std::vector<TensorEntry> entries = plan_.container->layout(weight);
  return std::all_of(entries.begin(), entries.end(), [&](const TensorEntry& entry) {
    const Checkpoint::Entry* stored = plan_.checkpoint->find(entry.name);
    return stored && stored->tensor.dtype == entry.dtype && stored->tensor.shape == entry.shape;
  });
}

Result<double> WeightMover::write(const SourceTensor& tensor, const WeightPlan& weight, const Move& move) {
  if (!weight.grid) {
    // Quantized weights can have the name of a tensor, too.
    if (move.from || !tensor.dtype || !plan_.checkpoint->find(weight.name)) return write_floats(weight);
    VN_TRY(copy_plain(weight));
    return 0.0;
  }
  if (move.round) return round(tensor, weight, move);
  if (stored_alike(tensor, weight)) {
    for (const TensorEntry& entry : plan_.container->layout(weight)) VN_TRY(copy_stored(entry.name, entry.name));
    return 0.0;
  }
  VN_ASSIGN(GridPart part, source_.part(weight.name));
  if (part.grid->spec() != *weight.grid) {
    auto same = spread(std::move(part), *weight.grid);
    if (!same) return fail(ErrorCode::failed, "{}: not the codes of {}", weight.name, weight.grid->text());
    part = std::move(*same);
  }
  VN_TRY(write_part(weight, part));
  return 0.0;
}

Status WeightMover::copy_stored(const std::string& from, const std::string& to) {
  VN_ASSIGN(const TensorView view, plan_.checkpoint->view(from));
  const auto& file = plan_.checkpoint->files()[plan_.checkpoint->find(from)->file];
  for (std::size_t at = 0; at < view.bytes.size(); at += bytes_at_once) {
    const auto piece = view.bytes.subspan(at, std::min(bytes_at_once, view.bytes.size() - at));
    VN_TRY(output_.write_part(to, static_cast<std::int64_t>(at), piece));
    file->release(piece);  // mapped pages count as resident until then
  }
  return {};
}

Status WeightMover::copy_plain(const WeightPlan& weight) {
  const TensorEntry entry = plan_.container->layout(weight)[0];
  const bool as_it_is = entry.dtype == plan_.checkpoint->find(weight.name)->tensor.dtype && weight.heads == 0;
  if (!plan_.container->rewrite || as_it_is) return copy_stored(weight.name, entry.name);
  VN_ASSIGN(const TensorView view, plan_.checkpoint->view(weight.name));
  VN_TRY(write_typed(weight, 0, view));
  plan_.checkpoint->release(weight.name);
  return {};
}

Status WeightMover::write_typed(const WeightPlan& weight, std::int64_t first, const TensorView& rows) {
  const TensorEntry entry = plan_.container->layout(weight)[0];
  WeightPlan piece = weight;
  piece.shape = rows.shape;
  std::optional<Tensor> rewritten;
  if (plan_.container->rewrite) {
    VN_ASSIGN(rewritten, plan_.container->rewrite(piece, rows));
  }
  const std::span<const std::byte> bytes = rewritten ? std::as_const(*rewritten).bytes() : rows.bytes;
  return output_.write_part(entry.name, first * (entry.bytes() / weight.shape[0]), bytes);
}

// The values in the planned type.
Result<double> WeightMover::write_floats(const WeightPlan& weight) {
  double error = 0, norm = 0;
  const auto write = [&](std::int64_t first, Tensor values) -> Status {
    Tensor typed(weight.dtype, values.shape());
    from_float(values.as<float>(), weight.dtype, typed.bytes());
    norm += squares(values, values.shape().elements() / values.shape()[0]);
    for (float& x : values.as<float>()) x -= round_to(weight.dtype, x);
    error += squares(values, values.shape().elements() / values.shape()[0]);
    return write_typed(weight, first, std::as_const(typed).view());
  };
  if (weight.shape.rank() != 2) {
    VN_ASSIGN(Tensor values, source_.vector(weight.name));
    VN_TRY(write(0, std::move(values)));
    return 0.0;
  }
  VN_ASSIGN(const auto matrix, source_.matrix(weight.name));
  const std::int64_t at_once = weight.heads > 0 ? matrix->rows() : rows_at_once(matrix->cols());
  for (std::int64_t first = 0; first < matrix->rows(); first += at_once) {
    VN_TRY(write(first, decode(*matrix, first, std::min(at_once, matrix->rows() - first))));
    release(weight);
  }
  return norm > 0 ? std::sqrt(error / norm) : 0.0;
}

Result<GridPart> WeightMover::round_rows(const WeightMatrix& matrix, std::int64_t first, std::int64_t count,
                                         const std::string& name, Rounding& rounding) const {
  const Tensor values = decode(matrix, first, count);
  SolveInput input;
  input.name = first > 0 ? fmt::format("{} from row {} on", name, first) : name;
  input.weight = values.matrix();
  input.grid = rounding.grid;
  input.range = rounding.range.get();
  SolveReport report;
  VN_ASSIGN(GridPart part, rounding.solver->solve(input, report));
  const double norm = squares(values, matrix.cols());
  rounding.norm += norm;
  rounding.error += report.error * norm;
  return part;
}

Result<double> WeightMover::round(const SourceTensor& tensor, const WeightPlan& weight, const Move& move) {
  if (move.from && !tensor.column_groups && may_spread(*move.from, *weight.grid, weight.shape[1]))
    if (auto part = source_.part(weight.name); part.ok())
      if (auto same = spread(std::move(part).value(), *weight.grid)) {
        VN_TRY(write_part(weight, *same));
        return 0.0;
      }
  Rounding rounding;
  VN_ASSIGN(rounding.grid, make_grid(*weight.grid));
  VN_ASSIGN(rounding.range, make_range(move.range));
  VN_ASSIGN(const MethodDescriptor* rtn, find_method("rtn"));
  VN_ASSIGN(const Options options, resolve_options(*rtn, {}));
  rounding.solver = rtn->make_solver(options);
  VN_ASSIGN(const auto matrix, source_.matrix(weight.name));
  const bool whole = fits_tensor(*rounding.grid), by_rows = !whole && stores_rows(*plan_.container, weight);
  const std::int64_t at_once = whole ? matrix->rows() : rows_at_once(matrix->cols());
  GridPart all{.grid = rounding.grid, .rows = matrix->rows(), .cols = matrix->cols()};
  for (std::int64_t first = 0; first < matrix->rows(); first += at_once) {
    const std::int64_t count = std::min(at_once, matrix->rows() - first);
    VN_ASSIGN(GridPart rows, round_rows(*matrix, first, count, weight.name, rounding));
    release(weight);
    if (by_rows) {
      VN_ASSIGN(const auto stored, plan_.container->encode(rows_of(weight, count), rows));
      VN_TRY(write_rows(weight, first, count, stored));
      continue;
    }
    all.codes.insert(all.codes.end(), rows.codes.begin(), rows.codes.end());
    all.params.insert(all.params.end(), rows.params.begin(), rows.params.end());
  }
  if (!by_rows) VN_TRY(write_part(weight, all));
  return rounding.norm > 0 ? std::sqrt(rounding.error / rounding.norm) : 0.0;
}

Status WeightMover::write_part(const WeightPlan& weight, const GridPart& part) {
  if (part.grid->per_tensor() || !stores_rows(*plan_.container, weight)) {
    VN_ASSIGN(const auto stored, plan_.container->encode(weight, part));
    return write_rows(weight, 0, part.rows, stored);
  }
  const std::int64_t at_once = rows_at_once(part.cols);
  for (std::int64_t first = 0; first < part.rows; first += at_once) {
    const std::int64_t count = std::min(at_once, part.rows - first);
    VN_ASSIGN(const auto stored, plan_.container->encode(rows_of(weight, count), slice(part, first, count)));
    VN_TRY(write_rows(weight, first, count, stored));
  }
  return {};
}

Status WeightMover::write_rows(const WeightPlan& weight, std::int64_t first, std::int64_t count,
                               std::span<const Tensor> tensors) {
  const std::vector<TensorEntry> entries = plan_.container->layout(weight);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto bytes = tensors[i].bytes();
    const std::int64_t offset = first * (static_cast<std::int64_t>(bytes.size()) / count);
    VN_TRY(count == weight.shape[0] ? output_.write(entries[i].name, bytes)
                                    : output_.write_part(entries[i].name, offset, bytes));
  }
  return {};
}

}  // namespace vernier
