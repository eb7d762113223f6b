// The panel products of each instruction set. A kernel computes y for a range of panels and a range of tokens, on the
// calling thread; linear.cc cuts the work and picks.
#pragma once

#include "kernels/panel/layout.h"
#include "kernels/panel/panel.h"

namespace vernier::kernels {

struct PanelTask {
  const QuantizedRows& x;
  const PanelMatrix& w;
  std::span<const float> bias;
  Matrix<float> y;
};

struct PanelRange {
  std::int64_t first_panel, last_panel;
  std::int64_t first_token, last_token;  // first_token starts a block
};

using PanelKernel = void (*)(const PanelTask& task, const PanelRange& range);

// Calls body.template operator()<kind, bits>() with what `spec` says.
template <class Body>
void by_kind_and_bits(const PanelSpec& spec, Body body) {
  const auto by_bits = [&]<PanelKind kind>() {
    if (spec.bits == 4) return body.template operator()<kind, 4>();
    if (spec.bits == 3) return body.template operator()<kind, 3>();
    if (spec.bits == 2) return body.template operator()<kind, 2>();
    if constexpr (kind != PanelKind::dual) {
      if (spec.bits == 6) return body.template operator()<kind, 6>();
      body.template operator()<kind, 8>();
    }
  };
  if (spec.kind == PanelKind::dual) return by_bits.template operator()<PanelKind::dual>();
  if (spec.kind == PanelKind::group) return by_bits.template operator()<PanelKind::group>();
  by_bits.template operator()<PanelKind::plain>();
}

void panels_scalar(const PanelTask& task, const PanelRange& range);
void panels_neon_dot(const PanelTask& task, const PanelRange& range);
void panels_neon_i8mm(const PanelTask& task, const PanelRange& range);
void panels_avx2(const PanelTask& task, const PanelRange& range);
void panels_avx_vnni(const PanelTask& task, const PanelRange& range);
// Few tokens: codes are unpacked in registers and read from memory once per 8 tokens.
void stream_vnni(const PanelTask& task, const PanelRange& range);
// Many tokens: pairs of panels are expanded to bytes, a chunk of columns at a time.
void tile_vnni(const PanelTask& task, const PanelRange& range);
void tile_group_vnni(const PanelTask& task, const PanelRange& range);  // for matrices of kind group
// More than 16 tokens, in tiles.
void tile_amx(const PanelTask& task, const PanelRange& range);

}  // namespace vernier::kernels
