#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/compressed_tensors/words.h"
#include "containers/stored_source.h"
#include "containers/transposed/transposed.h"
#include "formats/int/grid.h"
#include "formats/packing.h"
#include "formats/soundness.h"
#include "tensor/convert.h"

namespace vernier::transposed {
namespace {

constexpr std::string_view kCodes = ".qweight";
constexpr std::int64_t kWordBits = 32, kWordBytes = 4;

// One module's tensors, sizes checked against each other and the scheme.
struct Module {
  Scheme scheme;
  std::string name;
  std::int64_t rows = 0, cols = 0, groups = 1;  // of the weight: outputs, inputs
  std::vector<std::string> stored;

  GridSpec grid() const { return {"int", scheme.bits, scheme.symmetric, scheme.group, DType::f16}; }
  std::string full(std::string_view suffix) const { return name + std::string(suffix); }
};

std::uint32_t word_at(std::span<const std::byte> words, std::int64_t index) {
  std::uint32_t word;
  std::memcpy(&word, words.data() + index * kWordBytes, kWordBytes);
  return word;
}

// Output `o` of a row of nibble words that starts at word `first`.
std::uint8_t nibble_at(std::span<const std::byte> words, std::int64_t first, std::int64_t o) {
  constexpr int kPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // the inverse of kNibble
  return word_at(words, first + o / 8) >> 4 * kPlace[o % 8] & 15;
}

class TransposedMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  TransposedMatrix(const Module& module, std::int64_t stored_bytes) : m_(module), stored_bytes_(stored_bytes) {}

  std::int64_t rows() const override { return m_.rows; }
  std::int64_t cols() const override { return m_.cols; }
  std::int64_t stored_bytes() const override { return stored_bytes_; }
  std::string format_text() const override { return m_.grid().text(); }

  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    std::vector<std::uint8_t> row(m_.cols);
    std::vector<float> scale(m_.groups), zero(m_.groups);
    for (std::int64_t r = first; r < first + count; ++r, out += m_.cols) {
      read_codes(r, row);
      read_params(r, scale, zero);
      if (column_group.empty())
        dequantize_groups(row.data(), m_.cols, m_.scheme.group > 0 ? m_.scheme.group : m_.cols, scale.data(),
                          zero.data(), out);
      else
        dequantize_gather(row.data(), m_.cols, column_group.data(), scale.data(), zero.data(), out);
    }
  }

  // Every code and every zero point is one.
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes&) const override {
    std::vector<float> scale(count);
    for (std::int64_t g = 0; g < m_.groups; ++g) {
      to_float(scales, g * m_.rows + first, scale);
      for (std::int64_t i = 0; i < count; ++i)
        if (auto bad = unsound_scale({&scale[i], 1}, ScaleRule::not_zero, first + i)) {
          bad->what = fmt::format("scale of row {}, group {}", first + i, g);
          return bad;
        }
    }
    return std::nullopt;
  }

  Result<GridPart> part() const {
    GridPart part{.rows = m_.rows, .cols = m_.cols, .group_of_column = column_group};
    VN_ASSIGN(part.grid, make_grid(m_.grid()));
    part.codes.resize(m_.rows * m_.cols);
    part.params.resize(m_.rows * m_.groups * int_params);
    std::vector<float> scale(m_.groups), zero(m_.groups);
    for (std::int64_t r = 0; r < m_.rows; ++r) {
      read_codes(r, {part.codes.data() + r * m_.cols, static_cast<std::size_t>(m_.cols)});
      read_params(r, scale, zero);
      for (std::int64_t g = 0; g < m_.groups; ++g) {
        part.params[(r * m_.groups + g) * int_params + int_scale] = scale[g];
        part.params[(r * m_.groups + g) * int_params + int_zero] = zero[g];
      }
    }
    return part;
  }

  // The stored code of 0 of group g of output r, one added where the scheme took it away.
  int zero_of(std::int64_t r, std::int64_t g) const {
    const int bits = m_.scheme.bits;
    if (m_.scheme.words == Words::nibbles) return nibble_at(zeros, g * (m_.rows / 8), r);
    const std::int64_t row_bytes = m_.rows * bits / 8;
    std::uint8_t code = 0;
    unpack_bits(zeros.subspan(g * row_bytes, row_bytes), bits, r, {&code, 1});
    return (code + (m_.scheme.zeros_less_one ? 1 : 0)) & ((1 << bits) - 1);
  }

  std::span<const std::byte> codes, zeros;
  TensorView scales;
  std::vector<std::int32_t> column_group;  // [cols], or empty
  std::vector<std::shared_ptr<const void>> keep_alive;

 private:
  void read_codes(std::int64_t r, std::span<std::uint8_t> out) const {
    if (m_.scheme.words == Words::nibbles) {
      for (std::int64_t c = 0; c < m_.cols; ++c) out[c] = nibble_at(codes, c * (m_.rows / 8), r);
      return;
    }
    // A column of words is a row's bit string.
    const std::int64_t words = m_.cols * m_.scheme.bits / kWordBits;
    static thread_local std::vector<std::byte> string;
    string.resize(words * kWordBytes);
    for (std::int64_t w = 0; w < words; ++w)
      std::memcpy(string.data() + w * kWordBytes, codes.data() + (w * m_.rows + r) * kWordBytes, kWordBytes);
    unpack_bits(string, m_.scheme.bits, 0, out);
  }

  void read_params(std::int64_t r, std::span<float> scale, std::span<float> zero) const {
    for (std::int64_t g = 0; g < m_.groups; ++g) {
      to_float(scales, g * m_.rows + r, scale.subspan(g, 1));
      zero[g] = static_cast<float>(zero_of(r, g));
    }
  }

  Module m_;
  std::int64_t stored_bytes_;
};

Error wrong(const Checkpoint& checkpoint, const TensorEntry& entry, const std::string& wanted) {
  return with_hint(fail(ErrorCode::mismatch, "{}: tensor {} is {} {}, wanted {}", checkpoint.folder(), entry.name,
                        vernier::name(entry.dtype), entry.shape.text(), wanted),
                   "config.json and the weights must come from one run");
}

Result<const TensorEntry*> find(const Checkpoint& checkpoint, Module& m, std::string_view suffix, DType dtype) {
  VN_TRY(checkpoint.view(m.full(suffix)));  // names the nearest when missing
  const TensorEntry& entry = checkpoint.find(m.full(suffix))->tensor;
  if (entry.dtype != dtype || entry.shape.rank() < 1)
    return wrong(checkpoint, entry, std::string(vernier::name(dtype)) + " words");
  m.stored.push_back(entry.name);
  return &entry;
}

Status find_shapes(const Checkpoint& checkpoint, Module& m) {
  const bool strings = m.scheme.words == Words::strings;
  const std::int64_t bits = m.scheme.bits;
  VN_ASSIGN(const TensorEntry* codes, find(checkpoint, m, kCodes, DType::i32));
  VN_ASSIGN(const TensorEntry* zeros, find(checkpoint, m, ".qzeros", DType::i32));
  VN_ASSIGN(const TensorEntry* scales, find(checkpoint, m, ".scales", DType::f16));
  if (codes->shape.rank() != 2 || codes->shape[0] < 1 || codes->shape[1] < 1)
    return wrong(checkpoint, *codes, "a matrix");
  m.rows = strings ? codes->shape[1] : codes->shape[1] * 8;
  m.cols = strings ? codes->shape[0] * kWordBits / bits : codes->shape[0];
  if (strings && codes->shape[0] * kWordBits % bits != 0)
    return wrong(checkpoint, *codes, fmt::format("whole codes of {} bits, as {} says", bits, m.scheme.where));
  m.groups = m.scheme.group > 0 ? (m.cols + m.scheme.group - 1) / m.scheme.group : 1;
  if (scales->shape != Shape{m.groups, m.rows}) return wrong(checkpoint, *scales, Shape{m.groups, m.rows}.text());
  const Shape zeros_shape{m.groups, m.rows * bits / kWordBits};
  if (zeros->shape != zeros_shape || m.rows * bits % kWordBits != 0)
    return wrong(checkpoint, *zeros, zeros_shape.text());
  if (!strings || !checkpoint.find(m.full(".g_idx"))) return {};
  VN_ASSIGN(const TensorEntry* order, find(checkpoint, m, ".g_idx", DType::i32));
  if (order->shape != Shape{m.cols}) return wrong(checkpoint, *order, Shape{m.cols}.text());
  return {};
}

Result<std::vector<std::int32_t>> column_groups(const Checkpoint& checkpoint, const Module& m) {
  std::vector<std::int32_t> groups;
  const std::string name = m.full(".g_idx");
  if (std::find(m.stored.begin(), m.stored.end(), name) == m.stored.end()) return groups;
  VN_ASSIGN(const TensorView view, checkpoint.view(name));
  groups.resize(m.cols);
  std::memcpy(groups.data(), view.bytes.data(), view.bytes.size());
  const std::int64_t group = m.scheme.group > 0 ? m.scheme.group : m.cols;
  bool trivial = true;
  for (std::int64_t c = 0; c < m.cols; ++c) {
    if (groups[c] < 0 || groups[c] >= m.groups)
      return fail(ErrorCode::invalid, "{}: tensor {} puts column {} into group {} of {}", checkpoint.folder(), name, c,
                  groups[c], m.groups);
    trivial = trivial && groups[c] == c / group;
  }
  if (trivial) groups.clear();
  return groups;
}

Result<std::shared_ptr<const TransposedMatrix>> open_matrix(const Checkpoint& checkpoint, const Module& m) {
  std::int64_t bytes = 0;
  for (const std::string& name : m.stored) bytes += checkpoint.find(name)->tensor.bytes();
  auto matrix = std::make_shared<TransposedMatrix>(m, bytes);
  VN_ASSIGN(const TensorView codes, checkpoint.view(m.full(kCodes)));
  VN_ASSIGN(const TensorView zeros, checkpoint.view(m.full(".qzeros")));
  VN_ASSIGN(matrix->scales, checkpoint.view(m.full(".scales")));
  matrix->codes = codes.bytes;
  matrix->zeros = zeros.bytes;
  VN_ASSIGN(matrix->column_group, column_groups(checkpoint, m));
  for (const std::string& name : m.stored) matrix->keep_alive.push_back(mapping_of(checkpoint, name));
  return std::shared_ptr<const TransposedMatrix>(std::move(matrix));
}

// A symmetric scheme has one code of 0; anything else would be read back wrong.
Status check_zeros(const Checkpoint& checkpoint, const Module& m, const TransposedMatrix& matrix) {
  if (!m.scheme.symmetric) return {};
  const int half = 1 << (m.scheme.bits - 1);
  for (std::int64_t g = 0; g < m.groups; ++g)
    for (std::int64_t r = 0; r < m.rows; ++r)
      if (const int zero = matrix.zero_of(r, g); zero != half)
        return fail(ErrorCode::mismatch, "{}: {} is symmetric by {}, which wants zeros of {}, found {} in row {}",
                    checkpoint.folder(), m.full(".qzeros"), m.scheme.where, half, zero, r);
  return {};
}

Result<LogicalTensor> quantized_tensor(const Checkpoint& checkpoint, const Scheme& scheme, std::string module) {
  Module m{.scheme = scheme, .name = std::move(module)};
  VN_TRY(find_shapes(checkpoint, m));
  VN_ASSIGN(const auto matrix, open_matrix(checkpoint, m));
  VN_TRY(check_zeros(checkpoint, m, *matrix));
  LogicalTensor logical;
  logical.stored = m.stored;
  logical.info = {m.name + ".weight", Shape{m.rows, m.cols}, m.grid().text(), matrix->stored_bytes()};
  logical.info.grid = m.grid();
  logical.info.column_groups = !matrix->column_group.empty();
  logical.open = [m](const Checkpoint& from) -> Result<std::shared_ptr<const WeightMatrix>> {
    return open_matrix(from, m);
  };
  logical.part = [m](const Checkpoint& from) -> Result<GridPart> {
    VN_ASSIGN(const auto stored, open_matrix(from, m));
    return stored->part();
  };
  return logical;
}

}  // namespace

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint, const Scheme& scheme,
                                          const std::string& container) {
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  std::vector<LogicalTensor> tensors;
  std::unordered_set<std::string> claimed;
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    const std::string& name = entry.tensor.name;
    if (!name.ends_with(kCodes)) continue;
    VN_ASSIGN(LogicalTensor tensor, quantized_tensor(*checkpoint, scheme, name.substr(0, name.size() - kCodes.size())));
    claimed.insert(tensor.stored.begin(), tensor.stored.end());
    tensors.push_back(std::move(tensor));
  }
  if (tensors.empty())
    return fail(ErrorCode::mismatch, "{}: says the model is quantized, but no tensor ends in {}", scheme.where, kCodes);
  append_plain_tensors(*checkpoint, claimed, tensors);
  return StoredSource::make(std::move(checkpoint), std::move(graph), container, std::move(tensors));
}

}  // namespace vernier::transposed
