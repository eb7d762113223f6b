// What every format shares: the registry, and decoding of logical parts.
#include "vernier/format.h"

#include <algorithm>
#include <cctype>

#include "base/fail.h"

namespace vernier {

std::string GridSpec::text() const {
  if (format.empty()) return "none";
  if (const auto known = find_format(format); known.ok() && (*known)->fixed) return format;
  std::string scale(name(scale_dtype));
  std::transform(scale.begin(), scale.end(), scale.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string layout = group_rows > 1 ? fmt::format("{}x{}", group_rows, group)
                             : group > 0    ? fmt::format("g{}", group)
                             : group == 0   ? "channel"
                                            : "tensor";
  const bool named = std::isdigit(static_cast<unsigned char>(format.back())) != 0;  // "fp8" says its bits
  return fmt::format("{}{} {} {} {}", format, named ? "" : fmt::format("{}", bits), symmetric ? "sym" : "asym", layout,
                     scale);
}

std::span<const float> GridPart::params_of(std::int64_t row, std::int64_t group) const {
  const int count = grid->params_per_group();
  const std::int64_t index = grid->per_tensor() ? 0 : row * groups() + group;
  return {params.data() + index * count, static_cast<std::size_t>(count)};
}

void GridPart::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  const std::int64_t group = grid->group_columns(cols);
  for (std::int64_t r = first; r < first + count; ++r, out += cols) {
    const std::uint8_t* row_codes = codes.data() + r * cols;
    for (std::int64_t c = 0; c < cols;) {
      // [c, end): the longest run of columns that share their parameters.
      std::int64_t index = c / group, end = std::min(cols, c + group);
      if (!group_of_column.empty()) {
        index = group_of_column[c];
        end = std::find_if(group_of_column.begin() + c, group_of_column.end(),
                           [index](std::int32_t g) { return g != index; }) -
              group_of_column.begin();
      }
      const auto width = static_cast<std::size_t>(end - c);
      grid->decode({row_codes + c, width}, params_of(r, index), {out + c, width});
      c = end;
    }
  }
}

Result<const FormatDescriptor*> find_format(std::string_view name) {
  std::string known;
  for (const FormatDescriptor* format : formats()) {
    if (format->name == name) return format;
    known += (known.empty() ? "" : ", ") + std::string(format->name);
  }
  return with_hint(fail(ErrorCode::not_found, "unknown format '{}'", name), fmt::format("known formats: {}", known));
}

Result<std::shared_ptr<const Grid>> make_grid(const GridSpec& spec) {
  VN_ASSIGN(const FormatDescriptor* format, find_format(spec.format));
  VN_ASSIGN(std::unique_ptr<Grid> grid, format->make(spec));
  return std::shared_ptr<const Grid>(std::move(grid));
}

}  // namespace vernier
