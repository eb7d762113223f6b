#include <algorithm>
#include <cassert>
#include <vector>

#include "base/threads.h"
#include "kernels/panel/kernels.h"

namespace vernier::kernels {
namespace {

// From this many tokens on, expanding panels to bytes pays.
constexpr std::int64_t kManyTokens = 9;
constexpr std::int64_t kTileTokens = 252;  // of one piece: 21 register tiles of 12
constexpr std::int64_t kAmxTokens = 256;
// Pieces a worker gets with few tokens: long runs of memory, and yet none waits long for the slowest.
constexpr std::int64_t kPiecesPerWorker = 4;

struct Plan {
  PanelKernel kernel;
  std::int64_t panels, tokens;  // of one piece
};

std::int64_t pieces(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

std::int64_t stream_panels(const PanelMatrix& w) {
  return std::max<std::int64_t>(w.panels() / (kPiecesPerWorker * thread_count()), 1);
}

Plan plan(const QuantizedRows& x, const PanelMatrix& w) {
  [[maybe_unused]] const Isa isa = x.isa();
  if constexpr (kArm) {
    if (isa == Isa::neon_i8mm) return {panels_neon_i8mm, 1, x.tokens()};
    if (isa == Isa::neon_dot) return {panels_neon_dot, 1, x.tokens()};
  }
  if constexpr (kX86) {
    if (isa == Isa::avx2) return {panels_avx2, 1, x.tokens()};
    if (isa == Isa::avx_vnni) return {panels_avx_vnni, 1, x.tokens()};
    if (isa == Isa::amx) return {tile_amx, 2, kAmxTokens};
    if (isa == Isa::avx512_vnni && x.tokens() < kManyTokens) return {stream_vnni, stream_panels(w), x.tokens()};
    if (isa == Isa::avx512_vnni) return {tile_vnni, 2, kTileTokens};
  }
  return {panels_scalar, 1, x.tokens()};
}

}  // namespace

RowsFormat rows_format(const PanelMatrix& weight) {
  const PanelSpec& spec = weight.spec();
  if (spec.kind == PanelKind::plain) return {};
  return {.group = spec.group, .per_group = spec.kind == PanelKind::group};
}

void panel_linear(const QuantizedRows& x, const PanelMatrix& weight, std::span<const float> bias, Matrix<float> y) {
  [[maybe_unused]] const PanelSpec& spec = weight.spec();
  assert(x.cols() == spec.cols && y.rows == x.tokens() && y.cols == spec.rows);
  assert(spec.kind == PanelKind::plain || x.format().group == spec.group);
  assert(spec.kind == PanelKind::group || !x.format().per_group);
  if (x.tokens() == 0) return;
  const PanelTask task{x, weight, bias, y};
  const Plan p = plan(x, weight);
  const std::int64_t token_pieces = pieces(x.tokens(), p.tokens);
  parallel_owned(pieces(weight.panels(), p.panels) * token_pieces, [&](std::int64_t piece) {
    const std::int64_t panel = piece / token_pieces * p.panels, token = piece % token_pieces * p.tokens;
    p.kernel(task, {panel, std::min(weight.panels(), panel + p.panels), token, std::min(x.tokens(), token + p.tokens)});
  });
}

void PanelMatrix::touch() const {
  constexpr std::int64_t kPage = 4096;
  const std::int64_t step = stream_panels(*this);
  std::vector<std::uint8_t> seen(pieces(panels_, step));
  parallel_owned(static_cast<std::int64_t>(seen.size()), [&](std::int64_t piece) {
    const std::int64_t first = piece * step, last = std::min(panels_, first + step);
    for (const std::uint8_t* at = codes(first); at < codes(last); at += kPage) seen[piece] ^= *at;
  });
  asm volatile("" : : "r"(seen.data()) : "memory");  // the reads count as used
}

}  // namespace vernier::kernels
