// Packed matrices of every kind for tests.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "kernels/fixtures.h"
#include "kernels/panel/layout.h"
#include "kernels/panel/panel.h"

namespace vernier::testing {

using kernels::max_fine_scale;
using kernels::PanelKind;
using kernels::PanelMatrix;
using kernels::PanelSource;
using kernels::PanelSpec;

// Logical contents of a matrix, and the matrix on its packed bytes.
struct Packed {
  PanelSpec spec;
  std::vector<std::uint8_t> codes, fine, zeros;
  std::vector<float> scales;
  Tensor bytes;
  std::shared_ptr<const PanelMatrix> matrix;

  PanelSource source() const { return {codes, scales, fine, zeros}; }
  Status pack() {
    bytes = Tensor(DType::u8, {kernels::panel_bytes(spec)});
    VN_TRY(kernels::pack_panels(spec, source(), bytes.bytes()));
    VN_ASSIGN(matrix, PanelMatrix::open(spec, bytes.bytes(), nullptr));
    return {};
  }
};

enum class Values { random, largest };

inline Packed make(const PanelSpec& spec, Values values, std::uint64_t seed = 1) {
  const Random random(seed);
  std::uint64_t draw = 0;
  const auto fill = [&](std::int64_t count, int top) {
    std::vector<std::uint8_t> v(count);
    for (auto& byte : v)
      byte = values == Values::largest ? top : static_cast<std::uint8_t>(random.below(draw++, top + 1));
    return v;
  };
  const int top = (1 << spec.bits) - 1;
  Packed p{spec};
  p.codes = fill(spec.rows * spec.cols, top);
  p.zeros = fill(spec.rows * spec.groups(), top);
  if (values == Values::largest) std::fill(p.zeros.begin(), p.zeros.end(), 0);
  if (spec.kind == PanelKind::dual) p.fine = fill(spec.rows * spec.groups(), max_fine_scale(spec.bits));
  p.scales.resize(spec.kind == PanelKind::group ? spec.rows * spec.groups() : spec.rows);
  for (float& s : p.scales) s = 0.001f + 0.01f * static_cast<float>(random.uniform(draw++));
  const Status status = p.pack();
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().text());
  return p;
}

inline std::vector<PanelSpec> every_spec(std::int64_t rows, std::int64_t cols, std::int64_t group) {
  std::vector<PanelSpec> specs;
  for (PanelKind kind : {PanelKind::dual, PanelKind::group, PanelKind::plain}) {
    for (int bits : {8, 6, 4, 3, 2}) {
      if (kind != PanelKind::dual || bits < 6) specs.push_back({kind, bits, rows, cols, group});
    }
  }
  return specs;
}

inline std::string text(const PanelSpec& spec, std::int64_t tokens) {
  return std::string(name(spec.kind)) + " int" + std::to_string(spec.bits) + " g" + std::to_string(spec.group) + " " +
         std::to_string(spec.rows) + " x " + std::to_string(spec.cols) + ", " + std::to_string(tokens) + " tokens";
}

// Activations of +-1, so that codes are +-127.
inline Owned extreme(std::int64_t tokens, std::int64_t cols, bool alternating) {
  Owned x(tokens, cols);
  for (std::int64_t i = 0; i < tokens * cols; ++i) x.data[i] = alternating && (i / 3) % 2 ? -1.0f : 1.0f;
  return x;
}

}  // namespace vernier::testing
