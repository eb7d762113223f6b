// Orthogonal matrices Q [n, n] in a form that is cheap to apply, and their application to weights from either side, in
// double (handbook, transforms, 1, B7). Rotating a value x' = x Q turns its readers into W' = W Q and its writers into
// W' = Q^T W, b' = b Q.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

class Orthogonal {
 public:
  virtual ~Orthogonal() = default;
  virtual std::int64_t size() const = 0;
  // x [size()] <- x Q, or x Q^T. On this thread; thread-safe.
  virtual void apply(std::span<double> x) const = 0;
  virtual void apply_transposed(std::span<double> x) const = 0;
};
using OrthogonalPtr = std::shared_ptr<const Orthogonal>;

// +1 or -1, from draw i of the seed.
std::vector<double> random_signs(std::int64_t n, std::uint64_t seed);

// Which vector a random matrix leaves alone.
enum class Keep {
  nothing,
  ones,  // Q 1 = 1, so that the mean over channels is the same after x Q: what a LayerNorm needs
};

// A randomised Hadamard (QuaRot): Q = diag(signs) M^T; to keep ones, Q = M^T diag(1, signs) M. Unsupported for sizes
// without a Hadamard matrix (kernels/hadamard).
Result<OrthogonalPtr> random_hadamard(std::int64_t n, std::uint64_t seed, Keep keep = Keep::nothing);
// Uniform over the orthogonal group (QR of a normal matrix, diagonal of R positive; Mezzadri 2007), dense: n at most
// kMaxDenseOrthogonal, else unsupported. To keep ones, B diag(1, signs) B^T for a random basis B that starts with ones.
inline constexpr std::int64_t kMaxDenseOrthogonal = 4096;
Result<OrthogonalPtr> random_orthogonal(std::int64_t n, std::uint64_t seed, Keep keep = Keep::nothing);
// The Hadamard where there is one, else the dense matrix.
Result<OrthogonalPtr> random_rotation(std::int64_t n, std::uint64_t seed, Keep keep = Keep::nothing);

// Column channels[i] of Q is directions[i], so that (x Q)[channels[i]] = x . directions[i]; the other columns complete
// the basis. Directions are made orthonormal in order; channels are distinct. A product of as many reflections.
OrthogonalPtr direction_rotation(std::int64_t n, std::span<const std::vector<double>> directions,
                                 std::span<const std::int64_t> channels);

// Every slice of q.size() columns of every row: x <- x Q. w.cols is a multiple of q.size(). Rows on all workers.
void rotate_columns(Matrix<float> w, const Orthogonal& q);
// Every slice of q.size() rows: W <- Q^T W.
void rotate_rows(Matrix<float> w, const Orthogonal& q);

}  // namespace vernier
