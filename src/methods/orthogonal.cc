#include "methods/orthogonal.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/fail.h"
#include "base/random.h"
#include "base/threads.h"
#include "kernels/hadamard/hadamard.h"

namespace vernier {
namespace {

constexpr std::int64_t kPiece = 16;  // rows, or columns, of one worker at a time

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(std::span<double> y, double factor, std::span<const double> x) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += factor * x[i];
}

void scale(std::span<double> x, double factor) {
  for (double& v : x) v *= factor;
}

// Takes out of `v` what lies along `basis` (twice: once leaves what rounding put back) and makes it a unit vector.
// Returns its length before that.
double make_orthonormal(std::span<double> v, std::span<const std::vector<double>> basis) {
  for (int pass = 0; pass < 2; ++pass)
    for (const std::vector<double>& b : basis) add_scaled(v, -dot(v, b), b);
  const double length = std::sqrt(dot(v, v));
  if (length > 0) scale(v, 1 / length);
  return length;
}

// An orthonormal basis, its vectors as rows: `forward` gives the coordinates of x, `backward` the vector they mean.
class Basis {
 public:
  virtual ~Basis() = default;
  virtual std::int64_t size() const = 0;
  virtual void forward(std::span<double> x) const = 0;
  virtual void backward(std::span<double> x) const = 0;
};

class HadamardBasis final : public Basis {
 public:
  explicit HadamardBasis(kernels::Hadamard hadamard) : hadamard_(std::move(hadamard)) {}
  std::int64_t size() const override { return hadamard_.size(); }
  void forward(std::span<double> x) const override { hadamard_.apply(x, false); }
  void backward(std::span<double> x) const override { hadamard_.apply(x, true); }

 private:
  kernels::Hadamard hadamard_;
};

// Rows are orthonormal vectors.
class DenseBasis final : public Basis {
 public:
  explicit DenseBasis(std::vector<std::vector<double>> rows) : rows_(std::move(rows)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(rows_.size()); }
  void forward(std::span<double> x) const override {
    std::vector<double> y(rows_.size());
    for (std::size_t i = 0; i < rows_.size(); ++i) y[i] = dot(rows_[i], x);
    std::copy(y.begin(), y.end(), x.begin());
  }
  void backward(std::span<double> x) const override {
    std::vector<double> y(rows_.size(), 0.0);
    for (std::size_t i = 0; i < rows_.size(); ++i) add_scaled(y, x[i], rows_[i]);
    std::copy(y.begin(), y.end(), x.begin());
  }

 private:
  std::vector<std::vector<double>> rows_;
};

// x -> B (diag(signs) x): Q = diag(signs) B^T.
class SignedBasis final : public Orthogonal {
 public:
  SignedBasis(std::unique_ptr<Basis> basis, std::vector<double> signs)
      : basis_(std::move(basis)), signs_(std::move(signs)) {}
  std::int64_t size() const override { return basis_->size(); }
  void apply(std::span<double> x) const override {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= signs_[i];
    basis_->forward(x);
  }
  void apply_transposed(std::span<double> x) const override {
    basis_->backward(x);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= signs_[i];
  }

 private:
  std::unique_ptr<Basis> basis_;
  std::vector<double> signs_;
};

// x -> B^T (diag(signs) (B x)) with signs[0] = 1 and a basis whose first row is constant. Symmetric.
class KeepingOnes final : public Orthogonal {
 public:
  KeepingOnes(std::unique_ptr<Basis> basis, std::vector<double> signs)
      : basis_(std::move(basis)), signs_(std::move(signs)) {
    signs_[0] = 1;
  }
  std::int64_t size() const override { return basis_->size(); }
  void apply(std::span<double> x) const override {
    basis_->forward(x);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= signs_[i];
    basis_->backward(x);
  }
  void apply_transposed(std::span<double> x) const override { apply(x); }

 private:
  std::unique_ptr<Basis> basis_;
  std::vector<double> signs_;
};

OrthogonalPtr on_basis(std::unique_ptr<Basis> basis, std::uint64_t seed, Keep keep) {
  std::vector<double> signs = random_signs(basis->size(), seed);
  if (keep == Keep::ones) return std::make_shared<KeepingOnes>(std::move(basis), std::move(signs));
  return std::make_shared<SignedBasis>(std::move(basis), std::move(signs));
}

// I - 2 u u^T for each u, one after another; a zero u is the identity.
class Reflections final : public Orthogonal {
 public:
  Reflections(std::int64_t n, std::vector<std::vector<double>> normals) : n_(n), normals_(std::move(normals)) {}
  std::int64_t size() const override { return n_; }
  void apply(std::span<double> x) const override {
    for (const auto& u : normals_) add_scaled(x, -2 * dot(x, u), u);
  }
  void apply_transposed(std::span<double> x) const override {
    for (auto u = normals_.rbegin(); u != normals_.rend(); ++u) add_scaled(x, -2 * dot(x, *u), *u);
  }

 private:
  std::int64_t n_;
  std::vector<std::vector<double>> normals_;
};

}  // namespace

std::vector<double> random_signs(std::int64_t n, std::uint64_t seed) {
  const Random random(seed);
  std::vector<double> signs(n);
  for (std::int64_t i = 0; i < n; ++i) signs[i] = random.bits(i) >> 63 ? -1 : 1;
  return signs;
}

Result<OrthogonalPtr> random_hadamard(std::int64_t n, std::uint64_t seed, Keep keep) {
  VN_ASSIGN(kernels::Hadamard hadamard, kernels::Hadamard::make(n));
  return on_basis(std::make_unique<HadamardBasis>(std::move(hadamard)), seed, keep);
}

Result<OrthogonalPtr> random_orthogonal(std::int64_t n, std::uint64_t seed, Keep keep) {
  if (n < 1 || n > kMaxDenseOrthogonal)
    return fail(ErrorCode::unsupported, "a dense random rotation of size {}: wanted 1 to {}", n, kMaxDenseOrthogonal);
  const Random random(seed);
  std::vector<std::vector<double>> rows;
  for (std::int64_t i = 0; i < n; ++i) {
    std::vector<double> row(n, 1.0);
    if (i > 0 || keep == Keep::nothing)
      for (std::int64_t j = 0; j < n; ++j) row[j] = random.normal(i * n + j);
    make_orthonormal(row, rows);
    rows.push_back(std::move(row));
  }
  return on_basis(std::make_unique<DenseBasis>(std::move(rows)), Random(seed).bits(n * n), keep);
}

Result<OrthogonalPtr> random_rotation(std::int64_t n, std::uint64_t seed, Keep keep) {
  auto hadamard = random_hadamard(n, seed, keep);
  if (hadamard.ok()) return hadamard;
  return random_orthogonal(n, seed, keep);
}

OrthogonalPtr direction_rotation(std::int64_t n, std::span<const std::vector<double>> directions,
                                 std::span<const std::int64_t> channels) {
  assert(directions.size() == channels.size());
  std::vector<std::vector<double>> basis, normals;
  for (std::size_t i = 0; i < directions.size(); ++i) {
    std::vector<double> v = directions[i];
    make_orthonormal(v, basis);
    basis.push_back(v);
    // What the reflections so far leave of v is orthogonal to the channels done: one more brings it to its own.
    for (const auto& u : normals) add_scaled(v, -2 * dot(v, u), u);
    v[channels[i]] -= 1;
    if (dot(v, v) < 1e-24) std::fill(v.begin(), v.end(), 0.0);
    make_orthonormal(v, {});
    normals.push_back(std::move(v));
  }
  return std::make_shared<Reflections>(n, std::move(normals));
}

void rotate_columns(Matrix<float> w, const Orthogonal& q) {
  const std::int64_t n = q.size();
  assert(w.cols % n == 0);
  parallel_ranges(w.rows, kPiece, [&](std::int64_t first, std::int64_t last) {
    std::vector<double> x(n);
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t at = 0; at < w.cols; at += n) {
        float* const slice = w.row(r) + at;
        std::copy_n(slice, n, x.begin());
        q.apply(x);
        for (std::int64_t i = 0; i < n; ++i) slice[i] = static_cast<float>(x[i]);
      }
  });
}

void rotate_rows(Matrix<float> w, const Orthogonal& q) {
  const std::int64_t n = q.size();
  assert(w.rows % n == 0);
  parallel_ranges(w.cols, kPiece, [&](std::int64_t first, std::int64_t last) {
    std::vector<double> columns((last - first) * n);
    for (std::int64_t at = 0; at < w.rows; at += n) {
      for (std::int64_t r = 0; r < n; ++r)
        for (std::int64_t c = first; c < last; ++c) columns[(c - first) * n + r] = w(at + r, c);
      for (std::int64_t c = first; c < last; ++c) q.apply(std::span(columns).subspan((c - first) * n, n));
      for (std::int64_t r = 0; r < n; ++r)
        for (std::int64_t c = first; c < last; ++c) w(at + r, c) = static_cast<float>(columns[(c - first) * n + r]);
    }
  });
}

}  // namespace vernier
