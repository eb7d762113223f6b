#include "formats/stored_tensors.h"

#include <cstring>

#include "base/fail.h"

namespace vernier {

Status check_stored_tensors(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                            std::span<const TensorView> found, decltype(FormatDescriptor::layout) layout) {
  constexpr std::int64_t most = std::int64_t{1} << 40;
  if (rows <= 0 || cols <= 0 || rows > most / cols)
    return fail(ErrorCode::invalid, "{} weight: unusable shape [{}, {}]", spec.text(), rows, cols);
  std::vector<StoredTensor> wanted = layout(spec, rows, cols, false);
  const std::size_t plain = wanted.size();
  if (found.size() == plain + 1) wanted = layout(spec, rows, cols, true);
  if (found.size() != wanted.size())
    return fail(ErrorCode::mismatch, "{} weight: {} tensors wanted, {} found", spec.text(), plain, found.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const std::int64_t bytes = wanted[i].shape.elements() * size_bytes(wanted[i].dtype);
    if (found[i].dtype != wanted[i].dtype || found[i].shape != wanted[i].shape ||
        static_cast<std::int64_t>(found[i].bytes.size()) != bytes)
      return fail(ErrorCode::mismatch, "{} weight, tensor '{}': {} {} wanted, {} {} with {} bytes found", spec.text(),
                  wanted[i].suffix, name(wanted[i].dtype), wanted[i].shape.text(), name(found[i].dtype),
                  found[i].shape.text(), found[i].bytes.size());
  }
  return {};
}

Result<std::vector<std::int32_t>> read_column_groups(const GridSpec& spec, const TensorView& tensor,
                                                     std::int64_t groups) {
  std::vector<std::int32_t> group_of(tensor.bytes.size() / sizeof(std::int32_t));
  std::memcpy(group_of.data(), tensor.bytes.data(), tensor.bytes.size());
  for (std::size_t c = 0; c < group_of.size(); ++c)
    if (group_of[c] < 0 || group_of[c] >= groups)
      return fail(ErrorCode::invalid, "{} weight, tensor 'column_group': column {} names group {} of {}", spec.text(),
                  c, group_of[c], groups);
  return group_of;
}

double layout_bits_per_weight(std::span<const StoredTensor> layout, std::int64_t rows, std::int64_t cols) {
  double bits = 0;
  for (const StoredTensor& tensor : layout)
    bits += 8.0 * static_cast<double>(tensor.shape.elements() * size_bytes(tensor.dtype));
  return bits / (static_cast<double>(rows) * static_cast<double>(cols));
}

}  // namespace vernier
