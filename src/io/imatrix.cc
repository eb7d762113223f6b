#include "io/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/fail.h"
#include "io/files.h"
#include "io/gguf/file.h"
#include "io/gguf/header_writer.h"

namespace vernier {
namespace {

constexpr std::string_view sums_suffix = ".in_sum2", counts_suffix = ".counts", means_suffix = ".in_sum";
constexpr std::string_view type_key = "general.type", type_value = "imatrix", datasets_key = "imatrix.datasets",
                           chunks_key = "imatrix.chunk_count", tokens_key = "imatrix.chunk_size";
constexpr std::size_t least_entry_bytes = 4 + 1 + 4 + 4 + 4;  // of a .dat: lengths, a name, a count, a value
constexpr std::int64_t most_name_bytes = 1 << 12;

Error bad(const std::string& where, std::string what) {
  return with_hint(fail(ErrorCode::invalid, "{}: not a valid importance matrix: {}", where, what),
                   "`vernier imatrix MODEL -o FILE` writes one");
}

// Numbers that may be sums of squares or counts.
Status check_numbers(const std::string& where, const std::string& entry, std::string_view what,
                     std::span<const float> numbers) {
  for (std::size_t i = 0; i < numbers.size(); ++i)
    if (!(numbers[i] >= 0) || std::isinf(numbers[i]))
      return bad(where,
                 fmt::format("entry {}: {} {} is {}, wanted a number of at least 0", entry, what, i, numbers[i]));
  return {};
}

std::vector<float> floats_of(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

Result<ImportanceFile> parse_gguf_kind(std::span<const std::byte> bytes, const std::string& where) {
  VN_ASSIGN(const GgufHeader header, parse_gguf(bytes, where));
  const GgufReader metadata(header, where);
  VN_ASSIGN(const std::string kind, metadata.text(type_key, "model"));
  if (kind != type_value)
    return bad(where, fmt::format("metadata {}: wanted \"{}\", found \"{}\"", type_key, type_value, kind));
  ImportanceFile file;
  if (metadata.has(datasets_key)) {
    VN_ASSIGN(const auto datasets, metadata.strings(datasets_key));
    file.datasets.assign(datasets.begin(), datasets.end());
  }
  VN_ASSIGN(file.chunks, metadata.integer(chunks_key, 0));
  VN_ASSIGN(file.chunk_tokens, metadata.integer(tokens_key, 0));

  struct Pair {
    const GgufTensor *sums = nullptr, *counts = nullptr;
  };
  std::map<std::string, Pair> pairs;
  for (const GgufTensor& tensor : header.tensors) {
    const std::string_view name = tensor.name;
    const bool sums = name.ends_with(sums_suffix), counts = name.ends_with(counts_suffix);
    if (name.ends_with(means_suffix)) continue;
    const std::size_t length = name.size() - (sums ? sums_suffix.size() : counts ? counts_suffix.size() : 0);
    if (length == name.size() || length == 0)
      return bad(where, fmt::format("tensor {}: wanted WEIGHT{}, WEIGHT{} or WEIGHT{}", name, sums_suffix,
                                    counts_suffix, means_suffix));
    if (tensor.type->dtype != DType::f32)
      return bad(where, fmt::format("tensor {}: wanted type f32, found {}", name, tensor.type->name));
    Pair& pair = pairs[std::string(name.substr(0, length))];
    (sums ? pair.sums : pair.counts) = &tensor;
  }
  const auto values = [&](const GgufTensor& tensor) {
    return floats_of(bytes.subspan(static_cast<std::size_t>(header.data_offset + tensor.offset),
                                   static_cast<std::size_t>(tensor.bytes())));
  };
  for (const auto& [name, pair] : pairs) {
    if (!pair.sums || !pair.counts)
      return bad(where,
                 fmt::format("entry {}: tensor {}{} is missing", name, name, pair.sums ? counts_suffix : sums_suffix));
    const Shape& shape = pair.sums->shape;
    const std::int64_t matrices = shape.rank() == 1 ? 1 : shape[0];
    const Shape& found = pair.counts->shape;
    if (shape.rank() > 2 || found.elements() != matrices || (found.rank() > 1 && found[found.rank() - 1] != 1))
      return bad(where, fmt::format("entry {}: {} {} wants counts [{}, 1], found {}", name, sums_suffix.substr(1),
                                    shape.text(), matrices, found.text()));
    file.entries.push_back({name, values(*pair.sums), values(*pair.counts)});
  }
  return file;
}

// Reads forward through a .dat; every read is checked against what is left.
class DatCursor {
 public:
  DatCursor(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::size_t left() const { return bytes_.size() - at_; }

  Result<std::span<const std::byte>> take(std::int64_t size, std::string_view what) {
    if (size < 0 || static_cast<std::uint64_t>(size) > left())
      return bad(where_, fmt::format("{} of {} bytes at byte {}, {} are left", what, size, at_, left()));
    const auto part = bytes_.subspan(at_, static_cast<std::size_t>(size));
    at_ += static_cast<std::size_t>(size);
    return part;
  }
  Result<std::int32_t> integer(std::string_view what) {
    VN_ASSIGN(const auto bytes, take(sizeof(std::int32_t), what));
    std::int32_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  Result<std::string> text(std::string_view what) {
    VN_ASSIGN(const std::int32_t length, integer(what));
    if (length < 0 || length > most_name_bytes)
      return bad(where_, fmt::format("{} of {} bytes, wanted at most {}", what, length, most_name_bytes));
    VN_ASSIGN(const auto bytes, take(length, what));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
};

Result<ImportanceFile> parse_dat_kind(std::span<const std::byte> bytes, const std::string& where) {
  DatCursor cursor(bytes, where);
  VN_ASSIGN(const std::int32_t count, cursor.integer("the number of entries"));
  if (count < 1 || static_cast<std::size_t>(count) > cursor.left() / least_entry_bytes)
    return bad(where, fmt::format("{} entries in {} bytes", count, bytes.size()));
  ImportanceFile file;
  for (std::int32_t i = 0; i < count; ++i) {
    ImportanceEntry entry;
    VN_ASSIGN(entry.name, cursor.text("an entry's name"));
    if (entry.name.empty()) return bad(where, fmt::format("entry {} has no name", i));
    VN_ASSIGN(const std::int32_t calls, cursor.integer("a number of calls"));
    VN_ASSIGN(const std::int32_t values, cursor.integer("a number of values"));
    if (calls < 0 || values < 1)
      return bad(where, fmt::format("entry {}: {} values of {} calls", entry.name, values, calls));
    VN_ASSIGN(const auto sums, cursor.take(std::int64_t{4} * values, entry.name));
    entry.sums = floats_of(sums);
    entry.counts = {static_cast<float>(calls)};
    file.entries.push_back(std::move(entry));
  }
  if (cursor.left() == 0) return file;
  VN_ASSIGN(file.chunks, cursor.integer("the number of chunks"));
  if (file.chunks < 0) return bad(where, fmt::format("{} chunks", file.chunks));
  VN_ASSIGN(std::string dataset, cursor.text("the name of the data set"));
  file.datasets.push_back(std::move(dataset));
  if (cursor.left() > 0) return bad(where, fmt::format("{} bytes after its end", cursor.left()));
  return file;
}

template <class T>
void append(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

void append_floats(std::string& out, std::span<const float> values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

std::string gguf_bytes(const ImportanceFile& file) {
  GgufHeaderWriter header;
  header.text(type_key, type_value);
  header.strings(datasets_key, file.datasets);
  header.u32(chunks_key, file.chunks);
  header.u32(tokens_key, file.chunk_tokens);
  std::string data;
  const auto add = [&](const std::string& name, std::int64_t matrices, const std::vector<float>& values) {
    const auto columns = static_cast<std::int64_t>(values.size()) / matrices;
    header.tensor({name, find_gguf_type("f32"), {matrices, columns}});
    data.resize(static_cast<std::size_t>(header.tensors().back().offset));
    append_floats(data, values);
  };
  for (const ImportanceEntry& entry : file.entries) {
    const auto matrices = static_cast<std::int64_t>(entry.counts.size());
    add(entry.name + std::string(sums_suffix), matrices, entry.sums);
    add(entry.name + std::string(counts_suffix), matrices, entry.counts);
  }
  data.resize(static_cast<std::size_t>(header.data_bytes()));
  return header.header() + data;
}

// Calls are chunks; every value is a mean times their number, 1 standing for the mean of what no token reached.
std::string dat_bytes(const ImportanceFile& file) {
  std::string out;
  append(out, static_cast<std::int32_t>(file.entries.size()));
  for (const ImportanceEntry& entry : file.entries) {
    append(out, static_cast<std::int32_t>(entry.name.size()));
    out += entry.name;
    const float most = *std::max_element(entry.counts.begin(), entry.counts.end());
    const auto calls = static_cast<float>(
        std::max(1.0, std::ceil(most / static_cast<double>(std::max<std::int64_t>(1, file.chunk_tokens)))));
    append(out, static_cast<std::int32_t>(calls));
    append(out, static_cast<std::int32_t>(entry.sums.size()));
    const auto matrices = static_cast<std::int64_t>(entry.counts.size());
    for (std::int64_t m = 0; m < matrices; ++m) {
      std::vector<float> means = entry.means(m, matrices);
      for (float& mean : means) mean *= calls;
      append_floats(out, means);
    }
  }
  append(out, static_cast<std::int32_t>(file.chunks));
  std::string dataset;
  for (const std::string& name : file.datasets) dataset += (dataset.empty() ? "" : ", ") + name;
  append(out, static_cast<std::int32_t>(dataset.size()));
  return out + dataset;
}

}  // namespace

std::vector<float> ImportanceEntry::means(std::int64_t matrix, std::int64_t matrices) const {
  const auto columns = static_cast<std::int64_t>(sums.size()) / matrices;
  const float count = counts[counts.size() == 1 ? 0 : static_cast<std::size_t>(matrix)];
  if (count == 0) return std::vector<float>(static_cast<std::size_t>(columns), 1.0f);
  std::vector<float> means(sums.begin() + matrix * columns, sums.begin() + (matrix + 1) * columns);
  for (float& mean : means) mean /= count;
  return means;
}

Result<ImportanceFile> parse_imatrix(std::span<const std::byte> bytes, const std::string& where) {
  const bool gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  VN_ASSIGN(ImportanceFile file, gguf ? parse_gguf_kind(bytes, where) : parse_dat_kind(bytes, where));
  std::set<std::string_view> names;
  for (const ImportanceEntry& entry : file.entries) {
    if (!names.insert(entry.name).second) return bad(where, fmt::format("entry {} is there twice", entry.name));
    VN_TRY(check_numbers(where, entry.name, "sum", entry.sums));
    VN_TRY(check_numbers(where, entry.name, "count", entry.counts));
  }
  if (file.entries.empty()) return bad(where, "it has no entries");
  return file;
}

Result<ImportanceFile> read_imatrix(const std::string& path) {
  VN_ASSIGN(const std::string text, read_text_file(path));
  return parse_imatrix(std::as_bytes(std::span(text)), path);
}

std::string imatrix_bytes(const ImportanceFile& file, ImatrixKind kind) {
  return kind == ImatrixKind::gguf ? gguf_bytes(file) : dat_bytes(file);
}

}  // namespace vernier
