#include "methods/gptq/refine.h"

#include <algorithm>
#include <vector>

#include "base/vectorize.h"
#include "formats/shared_params.h"
#include "kernels/ops.h"

namespace vernier::gptq {
namespace {

// A move must lower the error by more than this fraction of the terms it sums, or rounding could walk in circles.
constexpr double least_gain = 1e-6;

VN_VECTORIZED void add_scaled(const float* __restrict x, float factor, std::int64_t count, float* __restrict out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] += factor * x[i];
}

// slope: (q - w) H of a row. A move d of some entries of q changes the error by 2 slope d + d H d.
class Refiner {
 public:
  Refiner(Matrix<const float> weight, Matrix<const float> hessian, std::int64_t first, std::int64_t count,
          GridPart& part)
      : hessian_(hessian),
        first_(first),
        rows_(count),
        cols_(part.cols),
        group_(part.grid->group_columns(part.cols)),
        params_(part.grid->params_per_group()),
        part_(part),
        values_(count * part.cols),
        slopes_(count * part.cols) {
    part.decode_rows(first, count, values_.data());
    std::vector<float> error = values_;
    for (std::int64_t r = 0; r < rows_; ++r)
      for (std::int64_t c = 0; c < cols_; ++c) error[r * cols_ + c] -= weight(first + r, c);
    kernels::sgemm({error.data(), rows_, cols_}, hessian, false, {slopes_.data(), rows_, cols_});
  }

  void move_shared();
  void move_params();
  void move_codes();

 private:
  float* value(std::int64_t r) { return values_.data() + r * cols_; }
  float* slope(std::int64_t r) { return slopes_.data() + r * cols_; }
  std::uint8_t* codes(std::int64_t r) { return part_.codes.data() + (first_ + r) * cols_; }
  void move_run(const SharedParams& shared, std::int64_t row, std::int64_t group);
  void move_group(std::int64_t row, std::int64_t group);
  void apply(std::int64_t row, std::int64_t begin, std::span<const float> move);

  Matrix<const float> hessian_;
  std::int64_t first_, rows_, cols_, group_;
  int params_;
  GridPart& part_;
  std::vector<float> values_, slopes_;  // [rows, cols]
};

void Refiner::apply(std::int64_t row, std::int64_t begin, std::span<const float> move) {
  for (std::size_t i = 0; i < move.size(); ++i) {
    const std::int64_t c = begin + static_cast<std::int64_t>(i);
    value(row)[c] += move[i];
    if (move[i] != 0) add_scaled(hessian_.row(c), move[i], cols_, slope(row));
  }
}

void Refiner::move_shared() {
  const auto* const shared = dynamic_cast<const SharedParams*>(part_.grid.get());
  if (!shared || shared->shared_params().empty()) return;
  for (std::int64_t g = 0; g < part_.groups(); g += shared->shared_groups())
    for (std::int64_t r = 0; r < rows_; ++r) move_run(*shared, r, g);
}

// Codes as they are, values are a sum over the shared parameters p of p * direction: least squares under H in one or
// two unknowns, then stored.
void Refiner::move_run(const SharedParams& shared, std::int64_t row, std::int64_t group) {
  const std::span<const int> places = shared.shared_params();
  const std::int64_t begin = group * group_, end = std::min(cols_, begin + shared.shared_groups() * group_);
  const auto width = static_cast<std::size_t>(end - begin);
  const int unknowns = static_cast<int>(places.size());
  std::vector<float> direction[2], weighted[2], unit(params_);
  double gradient[2] = {}, square[2][2] = {};
  for (int u = 0; u < unknowns; ++u) {
    direction[u].resize(width);
    weighted[u].assign(width, 0);
    for (std::int64_t c = begin; c < end; c += group_) {
      const std::int64_t count = std::min(group_, end - c);
      std::ranges::copy(part_.params_of(first_ + row, c / group_), unit.begin());
      for (int v = 0; v < unknowns; ++v) unit[places[v]] = v == u ? 1 : 0;
      part_.grid->decode({codes(row) + c, static_cast<std::size_t>(count)}, unit,
                         std::span(direction[u]).subspan(c - begin, count));
    }
    for (std::size_t i = 0; i < width; ++i)
      add_scaled(hessian_.row(begin + static_cast<std::int64_t>(i)) + begin, direction[u][i],
                 static_cast<std::int64_t>(width), weighted[u].data());
  }
  for (int u = 0; u < unknowns; ++u)
    for (std::size_t i = 0; i < width; ++i) {
      gradient[u] += double{direction[u][i]} * slope(row)[begin + static_cast<std::int64_t>(i)];
      for (int v = 0; v < unknowns; ++v) square[u][v] += double{direction[u][i]} * weighted[v][i];
    }
  const double determinant = square[0][0] * square[1][1] - square[0][1] * square[1][0];
  double wanted[2] = {square[0][0] > 0 ? -gradient[0] / square[0][0] : 0, 0};
  if (determinant > least_gain * square[0][0] * square[1][1]) {
    wanted[0] = (gradient[1] * square[0][1] - gradient[0] * square[1][1]) / determinant;
    wanted[1] = (gradient[0] * square[1][0] - gradient[1] * square[0][0]) / determinant;
  }
  float stored[2] = {};
  double step[2] = {}, change = 0, curvature = 0;
  for (int u = 0; u < unknowns; ++u) {
    const float old = part_.params_of(first_ + row, group)[places[u]];
    stored[u] = shared.stored_shared(places[u], old + static_cast<float>(wanted[u]));
    step[u] = double{stored[u]} - old;
    change += 2 * step[u] * gradient[u];
  }
  for (int u = 0; u < unknowns; ++u)
    for (int v = 0; v < unknowns; ++v) curvature += step[u] * step[v] * square[u][v];
  if (!(change + curvature < -least_gain * curvature)) return;
  std::vector<float> move(width);
  for (int u = 0; u < unknowns; ++u)
    for (std::size_t i = 0; i < width; ++i) move[i] += static_cast<float>(step[u]) * direction[u][i];
  for (std::int64_t c = begin; c < end; c += group_)
    for (int u = 0; u < unknowns; ++u)
      part_.params[((first_ + row) * part_.groups() + c / group_) * params_ + places[u]] = stored[u];
  apply(row, begin, move);
}

void Refiner::move_params() {
  for (std::int64_t g = 0; g < part_.groups(); ++g)
    for (std::int64_t r = 0; r < rows_; ++r) move_group(r, g);
}

// Each candidate with the codes as they are, and with the codes nearest to what each column alone would want.
void Refiner::move_group(std::int64_t row, std::int64_t group) {
  const std::int64_t begin = group * group_, width = std::min(group_, cols_ - begin);
  const auto size = static_cast<std::size_t>(width);
  const std::span<float> params =
      std::span(part_.params).subspan(((first_ + row) * part_.groups() + group) * params_, params_);
  std::vector<float> near(Grid::most_nearby * params_);
  const int count = part_.grid->nearby(params, near);
  if (count == 0) return;
  std::vector<float> wanted(size), decoded(size), move(size), best_move;
  std::vector<std::uint8_t> trial(size), best_codes;
  const float* best_params = nullptr;
  for (std::int64_t i = 0; i < width; ++i) {
    const float pivot = hessian_(begin + i, begin + i);
    wanted[i] = value(row)[begin + i] - (pivot > 0 ? slope(row)[begin + i] / pivot : 0);
  }
  double best = 0;
  for (int k = 0; k < 2 * count; ++k) {
    const std::span<const float> candidate = std::span(near).subspan(k / 2 * params_, params_);
    if (k % 2 == 0) {
      std::copy_n(codes(row) + begin, width, trial.begin());
      part_.grid->decode(trial, candidate, decoded);
    } else {
      part_.grid->encode(wanted, candidate, trial, decoded);
    }
    double linear = 0, square = 0;
    for (std::int64_t i = 0; i < width; ++i) {
      move[i] = decoded[i] - value(row)[begin + i];
      linear += double{2} * move[i] * slope(row)[begin + i];
    }
    for (std::int64_t i = 0; i < width; ++i) {
      float sum = 0;
      for (std::int64_t j = 0; j < width; ++j) sum += hessian_(begin + i, begin + j) * move[j];
      square += double{sum} * move[i];
    }
    if (linear + square >= best || linear + square > -least_gain * square) continue;
    best = linear + square;
    best_move = move;
    best_codes = trial;
    best_params = candidate.data();
  }
  if (!best_params) return;
  std::copy_n(best_params, params_, params.begin());
  std::copy_n(best_codes.begin(), width, codes(row) + begin);
  apply(row, begin, best_move);
}

// Columns outside, rows inside: a row of H serves all rows that move.
void Refiner::move_codes() {
  std::vector<float> wanted(rows_), decoded(rows_), table(rows_ * params_);
  std::vector<std::uint8_t> trial(rows_);
  std::vector<const float*> params(params_);
  for (int p = 0; p < params_; ++p) params[p] = table.data() + p * rows_;
  for (std::int64_t c = 0; c < cols_; ++c) {
    if (c % group_ == 0)
      for (std::int64_t r = 0; r < rows_; ++r)
        for (int p = 0; p < params_; ++p) table[p * rows_ + r] = part_.params_of(first_ + r, c / group_)[p];
    const float pivot = hessian_(c, c);
    if (!(pivot > 0)) continue;
    for (std::int64_t r = 0; r < rows_; ++r) wanted[r] = value(r)[c] - slope(r)[c] / pivot;
    part_.grid->encode_column(rows_, wanted.data(), params.data(), trial.data(), decoded.data());
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float move = decoded[r] - value(r)[c];
      const double linear = double{2} * move * slope(r)[c], square = double{move} * move * pivot;
      if (trial[r] == codes(r)[c] || linear + square > -least_gain * square) continue;
      codes(r)[c] = trial[r];
      value(r)[c] = decoded[r];
      add_scaled(hessian_.row(c), move, cols_, slope(r));
    }
  }
}

}  // namespace

void refine_rows(Matrix<const float> weight, Matrix<const float> hessian, std::int64_t first, std::int64_t count,
                 std::int64_t passes, GridPart& part) {
  Refiner refiner(weight, hessian, first, count, part);
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    refiner.move_shared();
    refiner.move_params();
    refiner.move_codes();
  }
}

}  // namespace vernier::gptq
