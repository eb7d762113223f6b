#include "eval/panel_stock.h"

#include <algorithm>
#include <cstring>

#include "base/random.h"
#include "base/threads.h"
#include "kernels/measure.h"

namespace vernier {

using kernels::PanelKind;
using kernels::PanelMatrix;

PanelStock::PanelStock(const kernels::PanelSpec& spec, std::int64_t bytes) {
  const Random random(1);
  const auto fill = [&](std::int64_t n, int top) {
    std::vector<std::uint8_t> v(n);
    parallel_ranges(n, 1 << 16, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) v[i] = static_cast<std::uint8_t>(random.below(i, top + 1));
    });
    return v;
  };
  const int top = (1 << spec.bits) - 1;
  const std::int64_t grids = spec.rows * spec.groups();
  const std::vector<std::uint8_t> codes = fill(spec.rows * spec.cols, top), zeros = fill(grids, top);
  const std::vector<std::uint8_t> fine = fill(spec.kind == PanelKind::dual ? grids : 0, 15);
  const std::vector<float> scales(spec.kind == PanelKind::group ? grids : spec.rows, 0.01f);
  const std::int64_t size = kernels::panel_bytes(spec), count = std::max<std::int64_t>((bytes + size - 1) / size, 1);
  for (std::int64_t i = 0; i < count; ++i) {
    Tensor& memory = bytes_.emplace_back(DType::u8, Shape{size});
    if (i == 0) {
      if (!kernels::pack_panels(spec, {codes, scales, fine, zeros}, memory.bytes()).ok()) std::abort();
    } else {
      std::memcpy(memory.bytes().data(), bytes_[0].bytes().data(), size);
    }
    matrices_.push_back(PanelMatrix::open(spec, memory.bytes(), nullptr).value());
  }
}

kernels::QuantizedRows PanelStock::activations(std::int64_t tokens) const {
  std::vector<float> x(tokens * spec().cols);
  const Random random(2);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
  kernels::QuantizedRows rows;
  kernels::quantize_rows({x.data(), tokens, spec().cols}, kernels::rows_format(*matrices_[0]), rows);
  return rows;
}

void PanelStock::read(std::int64_t count) const {
  for (std::int64_t i = 0; i < count; ++i) kernels::read_bytes(bytes_[i].bytes());
}

}  // namespace vernier
