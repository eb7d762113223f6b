#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "kernels/panel/layout.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kMaxRows = std::int64_t{1} << 31;

Error unfit(std::string_view field, std::string_view wanted, std::int64_t found) {
  return fail(ErrorCode::invalid, "packed panels: {} must be {}, found {}", field, wanted, found);
}

Status check_scales(std::span<const float> scales) {
  // Any exponent of all ones, found without a branch.
  const auto finite = [](float s) { return std::fabs(s) <= 3.4028235e38f; };
  if (std::all_of(scales.begin(), scales.end(), finite)) return {};
  const auto bad = std::find_if_not(scales.begin(), scales.end(), finite);
  return fail(ErrorCode::invalid, "packed panels: scale {} is not finite", bad - scales.begin());
}

}  // namespace

std::string_view name(PanelKind kind) {
  return kind == PanelKind::dual ? "dual" : kind == PanelKind::group ? "group" : "plain";
}

Status check(const PanelSpec& spec) {
  const bool wide = (spec.bits == 8 || spec.bits == 6) && spec.kind != PanelKind::dual;
  if (!wide && spec.bits != 4 && spec.bits != 3 && spec.bits != 2)
    return unfit("bits", spec.kind == PanelKind::dual ? "4, 3 or 2" : "8, 6, 4, 3 or 2", spec.bits);
  if (spec.rows < 1 || spec.rows > kMaxRows) return unfit("rows", "from 1 to 2147483648", spec.rows);
  if (spec.cols < 1 || spec.cols > kMaxCols) return unfit("columns", "from 1 to 65536", spec.cols);
  if (spec.kind != PanelKind::plain && (spec.group < 32 || spec.group > kMaxGroup || spec.group % kStepCols != 0))
    return unfit("group", "a multiple of 32 from 32 to 256", spec.group);
  return {};
}

std::int64_t panel_bytes(const PanelSpec& spec) { return sections(spec).total; }

double panel_bits_per_weight(const PanelSpec& spec) {
  return 8.0 * static_cast<double>(panel_bytes(spec)) /
         (static_cast<double>(spec.rows) * static_cast<double>(spec.cols));
}

Result<std::shared_ptr<const PanelMatrix>> PanelMatrix::open(const PanelSpec& spec, std::span<const std::byte> bytes,
                                                             std::shared_ptr<const void> keep_alive) {
  VN_TRY(check(spec));
  const PanelSections s = sections(spec);
  if (static_cast<std::int64_t>(bytes.size()) != s.total)
    return fail(ErrorCode::mismatch, "packed panels of {} x {}: {} bytes wanted, {} found", spec.rows, spec.cols,
                s.total, bytes.size());
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kLineBytes != 0)
    return with_hint(fail(ErrorCode::invalid, "packed panels must start at a multiple of 64 bytes"),
                     "copy them into aligned memory, or write the file again");
  std::shared_ptr<PanelMatrix> matrix(new PanelMatrix);
  matrix->spec_ = spec;
  matrix->panels_ = s.panels;
  matrix->padded_cols_ = s.padded_cols;
  matrix->groups_ = s.groups;
  matrix->scales_per_panel_ = s.scales_per_panel;
  matrix->integers_per_panel_ = s.integers_per_panel;
  matrix->codes_ = reinterpret_cast<const std::uint8_t*>(bytes.data());
  matrix->scales_ = reinterpret_cast<const float*>(bytes.data() + s.scales_offset);
  matrix->integers_ = matrix->codes_ + s.integers_offset;
  matrix->keep_alive_ = std::move(keep_alive);
  VN_TRY(check_scales({matrix->scales_, static_cast<std::size_t>(s.panels * s.scales_per_panel)}));
  if (spec.kind == PanelKind::dual && spec.bits != 4) {  // two nibbles always fit
    for (std::int64_t i = 0; i < s.panels * s.groups * kPanelRows; ++i) {
      const int fine = matrix->integers_[i / kPanelRows * 2 * kPanelRows + i % kPanelRows];
      if (fine > max_fine_scale(spec.bits))
        return fail(ErrorCode::invalid, "packed panels: fine scale {} of {}-bit codes overflows, at most {}", fine,
                    spec.bits, max_fine_scale(spec.bits));
    }
  }
  return std::shared_ptr<const PanelMatrix>(std::move(matrix));
}

void PanelMatrix::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  const std::int64_t group = group_cols();
  for (std::int64_t r = first; r < first + count; ++r, out += spec_.cols) {
    const std::int64_t panel = r / kPanelRows, row = r % kPanelRows;
    for (std::int64_t g = 0; g < groups_; ++g) {
      const FineGrid fine = fine_grid(spec_, integers(panel) + g * integer_bytes(spec_), row);
      const float scale = scales(panel)[spec_.kind == PanelKind::group ? g * kPanelRows + row : row];
      const std::int64_t end = std::min(spec_.cols, (g + 1) * group);
      for (std::int64_t c = g * group; c < end; ++c) {
        out[c] = scale * static_cast<float>(fine.scale * (get_code(spec_.bits, codes(panel), row, c) - fine.zero));
      }
    }
  }
}

std::string PanelMatrix::format_text() const {
  const std::string text = fmt::format("{} int{}", name(spec_.kind), spec_.bits);
  return spec_.kind == PanelKind::plain ? text : fmt::format("{} g{}", text, spec_.group);
}

}  // namespace vernier::kernels
