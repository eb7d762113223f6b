#include "io/gguf/file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "base/fail.h"

namespace vernier {
namespace {

constexpr std::int64_t default_alignment = 32, most_alignment = 1 << 20, most_dims = 4;
constexpr std::int64_t most_elements = std::int64_t{1} << 50;
constexpr std::size_t most_name_bytes = 1 << 16;
constexpr std::size_t least_value_bytes = 8 + 4 + 1,
                      least_tensor_bytes = 8 + 4 + 4 + 8;  // of a metadata entry; a tensor

constexpr std::int64_t kind_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // 0: of varying size

Error bad(const std::string& where, std::string what) {
  return with_hint(fail(ErrorCode::invalid, "{}: not a valid GGUF file: {}", where, what),
                   "the file may be truncated; fetch it again");
}

template <class T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Reads forward through the header; every read is checked against what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  std::size_t at() const { return at_; }
  std::size_t left() const { return file_.size() - at_; }

  Result<std::span<const std::byte>> take(std::uint64_t bytes, std::string_view what) {
    if (bytes > left())
      return bad(where_, fmt::format("{} of {} bytes at byte {}, {} are left", what, bytes, at_, left()));
    const auto part = file_.subspan(at_, bytes);
    at_ += bytes;
    return part;
  }
  template <class T>
  Result<T> number(std::string_view what) {
    VN_ASSIGN(const auto bytes, take(sizeof(T), what));
    return load<T>(bytes.data());
  }
  Result<std::string_view> string(std::string_view what) {
    VN_ASSIGN(const auto length, number<std::uint64_t>(what));
    VN_ASSIGN(const auto bytes, take(length, what));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  std::size_t at_ = 0;
};

Result<GgufKind> read_kind(Cursor& cursor, const std::string& where, std::string_view key) {
  VN_ASSIGN(const auto kind, cursor.number<std::uint32_t>("a value type"));
  if (kind >= std::size(kind_bytes)) return bad(where, fmt::format("metadata {}: value type {}", key, kind));
  return static_cast<GgufKind>(kind);
}

Result<GgufValue> read_value(Cursor& cursor, std::span<const std::byte> file, const std::string& where,
                             std::string_view key) {
  VN_ASSIGN(const GgufKind kind, read_kind(cursor, where, key));
  GgufKind element = kind;
  std::uint64_t count = 1;
  if (kind == GgufKind::array) {
    VN_ASSIGN(element, read_kind(cursor, where, key));
    if (element == GgufKind::array)
      return fail(ErrorCode::unsupported, "{}: metadata {}: an array of arrays", where, key);
    VN_ASSIGN(count, cursor.number<std::uint64_t>("an array length"));
  }
  const std::size_t first = cursor.at();
  if (element == GgufKind::string) {
    if (count > cursor.left() / 8)
      return bad(where, fmt::format("metadata {}: {} strings in {} bytes", key, count, cursor.left()));
    for (std::uint64_t i = 0; i < count; ++i) VN_TRY(cursor.string(key));
  } else {
    const auto size = static_cast<std::uint64_t>(kind_bytes[static_cast<std::size_t>(element)]);
    if (count > cursor.left() / size)
      return bad(where, fmt::format("metadata {}: {} elements in {} bytes", key, count, cursor.left()));
    VN_TRY(cursor.take(count * size, key));
  }
  return GgufValue(kind, element, static_cast<std::int64_t>(count), file.subspan(first, cursor.at() - first));
}

Status read_metadata(Cursor& cursor, std::span<const std::byte> file, const std::string& where, std::uint64_t count,
                     GgufHeader& header) {
  for (std::uint64_t i = 0; i < count; ++i) {
    VN_ASSIGN(const std::string_view key, cursor.string("a metadata key"));
    if (key.empty() || key.size() > most_name_bytes)
      return bad(where, fmt::format("a metadata key of {} bytes", key.size()));
    VN_ASSIGN(GgufValue value, read_value(cursor, file, where, key));
    if (!header.metadata.emplace(key, value).second) return bad(where, fmt::format("metadata {} is there twice", key));
  }
  return {};
}

Result<GgufTensor> read_tensor(Cursor& cursor, const std::string& where) {
  GgufTensor tensor;
  VN_ASSIGN(const std::string_view name, cursor.string("a tensor name"));
  if (name.empty() || name.size() > most_name_bytes)
    return bad(where, fmt::format("a tensor name of {} bytes", name.size()));
  tensor.name = name;
  VN_ASSIGN(const auto rank, cursor.number<std::uint32_t>("a tensor rank"));
  if (rank < 1 || rank > most_dims) return bad(where, fmt::format("tensor {}: {} dimensions", name, rank));
  std::vector<std::int64_t> dims(rank);
  std::int64_t elements = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    VN_ASSIGN(const auto dim, cursor.number<std::uint64_t>("a dimension"));
    if (dim < 1 || dim > static_cast<std::uint64_t>(most_elements) ||
        __builtin_mul_overflow(elements, static_cast<std::int64_t>(dim), &elements) || elements > most_elements)
      return bad(where, fmt::format("tensor {}: a dimension of {}", name, dim));
    dims[rank - 1 - i] = static_cast<std::int64_t>(dim);
  }
  tensor.shape = Shape(std::move(dims));
  VN_ASSIGN(const auto id, cursor.number<std::uint32_t>("a tensor type"));
  tensor.type = find_gguf_type(id);
  if (!tensor.type) {
    std::string known;
    for (const GgufType& type : kGgufTypes) known += (known.empty() ? "" : ", ") + std::string(type.name);
    return with_hint(fail(ErrorCode::unsupported, "{}: tensor {}: type {} is not read here", where, name, id),
                     fmt::format("types read here: {}", known));
  }
  if (tensor.shape[rank - 1] % tensor.type->block != 0)
    return bad(where, fmt::format("tensor {}: rows of {} are not whole blocks of {} ({})", name, tensor.shape[rank - 1],
                                  tensor.type->block, tensor.type->name));
  VN_ASSIGN(const auto offset, cursor.number<std::uint64_t>("a tensor offset"));
  if (offset > static_cast<std::uint64_t>(INT64_MAX) / 2)
    return bad(where, fmt::format("tensor {}: offset {}", name, offset));
  tensor.offset = static_cast<std::int64_t>(offset);
  return tensor;
}

Result<std::int64_t> read_alignment(const GgufHeader& header, const std::string& where) {
  const GgufReader reader(header, where);
  VN_ASSIGN(const std::int64_t alignment, reader.integer("general.alignment", default_alignment));
  if (alignment < 1 || alignment > most_alignment || (alignment & (alignment - 1)) != 0)
    return bad(where, fmt::format("general.alignment {}, wanted a power of two up to {}", alignment, most_alignment));
  return alignment;
}

// Every tensor in the data section, aligned, none over another.
Status check_places(const GgufHeader& header, std::int64_t data_bytes, std::int64_t alignment,
                    const std::string& where) {
  std::vector<const GgufTensor*> order;
  std::unordered_set<std::string_view> names;
  for (const GgufTensor& tensor : header.tensors) {
    if (!names.insert(tensor.name).second) return bad(where, fmt::format("tensor {} is there twice", tensor.name));
    if (tensor.offset % alignment != 0)
      return bad(where,
                 fmt::format("tensor {}: offset {} is not a multiple of {}", tensor.name, tensor.offset, alignment));
    if (tensor.offset > data_bytes || tensor.bytes() > data_bytes - tensor.offset)
      return bad(where, fmt::format("tensor {}: {} bytes at {} of a data section of {}", tensor.name, tensor.bytes(),
                                    tensor.offset, data_bytes));
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->offset + order[i - 1]->bytes() > order[i]->offset)
      return bad(where, fmt::format("tensors {} and {} overlap", order[i - 1]->name, order[i]->name));
  return {};
}

}  // namespace

bool GgufValue::holds_integers() const {
  return holds_numbers() && element_ != GgufKind::f32 && element_ != GgufKind::f64;
}

std::vector<std::string_view> GgufValue::strings() const {
  std::vector<std::string_view> result;
  result.reserve(static_cast<std::size_t>(count_));
  const std::byte* at = bytes_.data();
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto length = load<std::uint64_t>(at);
    result.emplace_back(reinterpret_cast<const char*>(at + 8), length);
    at += 8 + length;
  }
  return result;
}

std::vector<std::int64_t> GgufValue::integers() const {
  std::vector<std::int64_t> result;
  result.reserve(static_cast<std::size_t>(count_));
  const std::int64_t size = kind_bytes[static_cast<std::size_t>(element_)];
  const bool is_signed = element_ == GgufKind::i8 || element_ == GgufKind::i16 || element_ == GgufKind::i32;
  for (std::int64_t i = 0; i < count_; ++i) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes_.data() + i * size, static_cast<std::size_t>(size));
    const int unused = static_cast<int>(64 - 8 * size);
    if (is_signed)
      result.push_back(static_cast<std::int64_t>(value << unused) >> unused);
    else if (element_ == GgufKind::i64)
      result.push_back(static_cast<std::int64_t>(value));
    else
      result.push_back(static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX)));
  }
  return result;
}

std::vector<double> GgufValue::numbers() const {
  if (holds_integers()) {
    const auto whole = integers();
    return {whole.begin(), whole.end()};
  }
  std::vector<double> result;
  result.reserve(static_cast<std::size_t>(count_));
  for (std::int64_t i = 0; i < count_; ++i)
    result.push_back(element_ == GgufKind::f32 ? load<float>(bytes_.data() + 4 * i)
                                               : load<double>(bytes_.data() + 8 * i));
  return result;
}

Result<GgufHeader> parse_gguf(std::span<const std::byte> file, const std::string& where) {
  Cursor cursor(file, where);
  VN_ASSIGN(const auto magic, cursor.take(4, "the magic number"));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0)
    return with_hint(fail(ErrorCode::invalid, "{}: not a GGUF file: it does not begin with \"GGUF\"", where),
                     "older ggml files have to be converted with llama.cpp first");
  VN_ASSIGN(const auto version, cursor.number<std::uint32_t>("the version"));
  if (version != 2 && version != 3)
    return with_hint(fail(ErrorCode::unsupported, "{}: GGUF version {}, wanted 2 or 3", where, version),
                     version > 0xFFFF ? "it was written on a big-endian machine"
                     : version > 3    ? "a newer program wrote it; a newer release may read it"
                                      : "convert it with a current llama.cpp");
  VN_ASSIGN(const auto tensors, cursor.number<std::uint64_t>("the tensor count"));
  VN_ASSIGN(const auto values, cursor.number<std::uint64_t>("the metadata count"));
  if (values > cursor.left() / least_value_bytes || tensors > cursor.left() / least_tensor_bytes)
    return bad(where, fmt::format("{} metadata entries and {} tensors in {} bytes", values, tensors, file.size()));

  GgufHeader header;
  VN_TRY(read_metadata(cursor, file, where, values, header));
  for (std::uint64_t i = 0; i < tensors; ++i) {
    VN_ASSIGN(GgufTensor tensor, read_tensor(cursor, where));
    header.tensors.push_back(std::move(tensor));
  }
  VN_ASSIGN(const std::int64_t alignment, read_alignment(header, where));
  const auto size = static_cast<std::int64_t>(file.size());
  header.data_offset = (static_cast<std::int64_t>(cursor.at()) + alignment - 1) / alignment * alignment;
  VN_TRY(check_places(header, std::max<std::int64_t>(0, size - header.data_offset), alignment, where));
  return header;
}

Error GgufReader::missing(std::string_view key, std::string_view wanted) const {
  return fail(ErrorCode::not_found, "{}: metadata {}: wanted {}, found nothing", where_, key, wanted);
}

Error GgufReader::wrong(std::string_view key, std::string_view wanted) const {
  const GgufValue& value = *header_.find(key);
  const char* found = value.is_array()         ? "an array"
                      : value.holds_strings()  ? "a string"
                      : value.holds_integers() ? "an integer"
                      : value.holds_flags()    ? "true or false"
                                               : "a number";
  return fail(ErrorCode::invalid, "{}: metadata {}: wanted {}, found {}{}", where_, key, wanted, found,
              value.is_array() ? fmt::format(" of {}", value.count()) : "");
}

Result<std::string> GgufReader::text(std::string_view key) const {
  const GgufValue* value = header_.find(key);
  if (!value) return missing(key, "a string");
  if (value->is_array() || !value->holds_strings()) return wrong(key, "a string");
  return std::string(value->strings()[0]);
}

Result<std::string> GgufReader::text(std::string_view key, std::string fallback) const {
  return has(key) ? text(key) : Result<std::string>(std::move(fallback));
}

Result<std::int64_t> GgufReader::integer(std::string_view key) const {
  const GgufValue* value = header_.find(key);
  if (!value) return missing(key, "an integer");
  if (value->is_array() || !value->holds_integers()) return wrong(key, "an integer");
  const std::int64_t number = value->integers()[0];
  if (number < 0) return fail(ErrorCode::invalid, "{}: metadata {}: wanted at least 0, found {}", where_, key, number);
  return number;
}

Result<std::int64_t> GgufReader::integer(std::string_view key, std::int64_t fallback) const {
  return has(key) ? integer(key) : Result<std::int64_t>(fallback);
}

Result<double> GgufReader::number(std::string_view key, double fallback) const {
  const GgufValue* value = header_.find(key);
  if (!value) return fallback;
  if (value->is_array() || !value->holds_numbers()) return wrong(key, "a number");
  const double number = value->numbers()[0];
  if (!std::isfinite(number)) return wrong(key, "a finite number");
  return number;
}

Result<bool> GgufReader::flag(std::string_view key, bool fallback) const {
  const GgufValue* value = header_.find(key);
  if (!value) return fallback;
  if (value->is_array() || !value->holds_flags()) return wrong(key, "true or false");
  return value->flag();
}

Result<std::vector<std::string_view>> GgufReader::strings(std::string_view key) const {
  const GgufValue* value = header_.find(key);
  if (!value) return missing(key, "an array of strings");
  if (!value->is_array() || !value->holds_strings()) return wrong(key, "an array of strings");
  return value->strings();
}

Result<std::vector<std::int64_t>> GgufReader::integers(std::string_view key, std::size_t count) const {
  const std::string wanted = fmt::format("an array of {} integers", count);
  const GgufValue* value = header_.find(key);
  if (!value) return missing(key, wanted);
  if (!value->is_array() || !value->holds_integers() || static_cast<std::size_t>(value->count()) != count)
    return wrong(key, wanted);
  return value->integers();
}

Result<std::vector<double>> GgufReader::numbers(std::string_view key, std::size_t count) const {
  const std::string wanted = fmt::format("an array of {} numbers", count);
  const GgufValue* value = header_.find(key);
  if (!value) return missing(key, wanted);
  if (!value->is_array() || !value->holds_numbers() || static_cast<std::size_t>(value->count()) != count)
    return wrong(key, wanted);
  return value->numbers();
}

}  // namespace vernier
