#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "base/threads.h"
#include "kernels/panel/layout.h"

namespace vernier::kernels {
namespace {

Status check_size(std::string_view what, std::size_t found, std::int64_t wanted) {
  if (static_cast<std::int64_t>(found) == wanted) return {};
  return fail(ErrorCode::mismatch, "packing panels: {} {} wanted, {} found", wanted, what, found);
}

Status check_bytes(std::string_view what, std::span<const std::uint8_t> values, int low, int high) {
  const auto bad = std::find_if(values.begin(), values.end(), [&](int v) { return v < low || v > high; });
  if (bad == values.end()) return {};
  return fail(ErrorCode::invalid, "packing panels: {} must be from {} to {}, found {} at {}", what, low, high, *bad,
              bad - values.begin());
}

Status check_source(const PanelSpec& spec, const PanelSource& source, std::size_t out_bytes) {
  const std::int64_t groups = spec.groups();
  const int top = (1 << spec.bits) - 1;
  VN_TRY(check_size("codes", source.codes.size(), spec.rows * spec.cols));
  VN_TRY(check_size("scales", source.scales.size(), spec.kind == PanelKind::group ? spec.rows * groups : spec.rows));
  VN_TRY(check_size("zeros", source.zeros.size(), spec.rows * groups));
  VN_TRY(check_size("fine scales", source.fine.size(), spec.kind == PanelKind::dual ? spec.rows * groups : 0));
  VN_TRY(check_size("bytes of room", out_bytes, panel_bytes(spec)));
  VN_TRY(check_bytes("codes", source.codes, 0, top));
  VN_TRY(check_bytes("zeros", source.zeros, 0, top));
  VN_TRY(check_bytes("fine scales", source.fine, 0, max_fine_scale(spec.bits)));
  const auto bad =
      std::find_if_not(source.scales.begin(), source.scales.end(), [](float s) { return std::isfinite(s); });
  if (bad != source.scales.end())
    return fail(ErrorCode::invalid, "packing panels: scale {} is not finite", bad - source.scales.begin());
  return {};
}

}  // namespace

Status pack_panels(const PanelSpec& spec, const PanelSource& source, std::span<std::byte> out) {
  VN_TRY(check(spec));
  VN_TRY(check_source(spec, source, out.size()));
  const PanelSections s = sections(spec);
  std::memset(out.data(), 0, out.size());
  auto* codes = reinterpret_cast<std::uint8_t*>(out.data());
  std::byte* scales = out.data() + s.scales_offset;
  std::uint8_t* integers = codes + s.integers_offset;
  const std::int64_t panel_code_bytes = s.padded_cols * spec.bits * 2;
  const std::int64_t scale_groups = s.scales_per_panel / kPanelRows;
  parallel_for(s.panels, [&](std::int64_t panel) {
    const std::int64_t live = std::min(kPanelRows, spec.rows - panel * kPanelRows);
    for (std::int64_t row = 0; row < live; ++row) {
      const std::int64_t r = panel * kPanelRows + row;
      for (std::int64_t c = 0; c < spec.cols; ++c)
        set_code(spec.bits, codes + panel * panel_code_bytes, row, c, source.codes[r * spec.cols + c]);
      for (std::int64_t g = 0; g < scale_groups; ++g) {
        std::memcpy(scales + ((panel * scale_groups + g) * kPanelRows + row) * 4, &source.scales[r * scale_groups + g],
                    4);
      }
      for (std::int64_t g = 0; g < s.groups; ++g) {
        std::uint8_t* at = integers + panel * s.integers_per_panel + g * integer_bytes(spec);
        const std::uint8_t zero = source.zeros[r * s.groups + g];
        if (spec.kind != PanelKind::dual) {
          at[row] = zero;
        } else if (spec.bits == 4) {
          at[row] = source.fine[r * s.groups + g] | zero << 4;
        } else {
          at[row] = source.fine[r * s.groups + g];
          at[kPanelRows + row] = zero;
        }
      }
    }
  });
  return {};
}

PanelContents unpack_panels(const PanelMatrix& panels) {
  const PanelSpec& spec = panels.spec();
  const bool dual = spec.kind == PanelKind::dual;
  const std::int64_t groups = panels.groups(), scale_groups = spec.kind == PanelKind::group ? groups : 1;
  PanelContents out;
  out.codes.resize(static_cast<std::size_t>(spec.rows * spec.cols));
  out.scales.resize(static_cast<std::size_t>(spec.rows * scale_groups));
  out.fine.resize(static_cast<std::size_t>(dual ? spec.rows * groups : 0));
  out.zeros.resize(static_cast<std::size_t>(spec.rows * groups));
  parallel_for(panels.panels(), [&](std::int64_t panel) {
    const std::int64_t first = panel * kPanelRows, live = std::min(kPanelRows, spec.rows - first);
    for (std::int64_t row = 0; row < live; ++row) {
      const std::int64_t r = first + row;
      for (std::int64_t c = 0; c < spec.cols; ++c)
        out.codes[r * spec.cols + c] = static_cast<std::uint8_t>(get_code(spec.bits, panels.codes(panel), row, c));
      for (std::int64_t g = 0; g < scale_groups; ++g)
        out.scales[r * scale_groups + g] = panels.scales(panel)[g * kPanelRows + row];
      for (std::int64_t g = 0; g < groups; ++g) {
        const FineGrid fine = fine_grid(spec, panels.integers(panel) + g * integer_bytes(spec), row);
        out.zeros[r * groups + g] = static_cast<std::uint8_t>(fine.zero);
        if (dual) out.fine[r * groups + g] = static_cast<std::uint8_t>(fine.scale);
      }
    }
  });
  return out;
}

}  // namespace vernier::kernels
