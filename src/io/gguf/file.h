// GGUF, versions 2 and 3: magic | version | counts | metadata | tensor table | padding | data (handbook, formats, part
// 2). The reader trusts nothing: lengths against the bytes there are, alignment, bounds, overlap, known types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf/types.h"
#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

enum class GgufKind : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// One metadata value, in the bytes of the file.
class GgufValue {
 public:
  GgufValue(GgufKind kind, GgufKind element, std::int64_t count, std::span<const std::byte> bytes)
      : kind_(kind), element_(element), count_(count), bytes_(bytes) {}

  GgufKind kind() const { return kind_; }
  bool is_array() const { return kind_ == GgufKind::array; }
  std::int64_t count() const { return count_; }  // of an array; else 1
  // Whether the value, or every element of the array, is of that sort.
  bool holds_strings() const { return element_ == GgufKind::string; }
  bool holds_integers() const;
  bool holds_numbers() const { return !holds_strings() && element_ != GgufKind::boolean; }
  bool holds_flags() const { return element_ == GgufKind::boolean; }

  // The elements; only of the sort that they hold. Integers above the range of int64 are clamped.
  std::vector<std::string_view> strings() const;
  std::vector<std::int64_t> integers() const;
  std::vector<double> numbers() const;
  bool flag() const { return bytes_[0] != std::byte{0}; }

  GgufKind element() const { return element_; }                // of an array; else kind()
  std::span<const std::byte> bytes() const { return bytes_; }  // of the elements, as they lie in the file

 private:
  GgufKind kind_, element_;  // element_: kind_ itself unless an array
  std::int64_t count_;
  std::span<const std::byte> bytes_;
};

struct GgufTensor {
  std::string name;
  const GgufType* type = nullptr;
  Shape shape;              // outermost first, the reverse of the file's
  std::int64_t offset = 0;  // from the start of the data section
  std::int64_t bytes() const { return shape.elements() / type->block * type->bytes; }
};

struct GgufHeader {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;
  std::int64_t data_offset = 0;

  const GgufValue* find(std::string_view key) const {
    const auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : &found->second;
  }
};

// A whole file in memory; what comes back refers to it. `where` names it in errors. Never allocates more than a small
// multiple of the header.
Result<GgufHeader> parse_gguf(std::span<const std::byte> file, const std::string& where);

// Metadata by key; errors name the file, the key, what was wanted and what was found.
class GgufReader {
 public:
  GgufReader(const GgufHeader& header, std::string where) : header_(header), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const GgufHeader& header() const { return header_; }
  bool has(std::string_view key) const { return header_.find(key) != nullptr; }

  Result<std::string> text(std::string_view key) const;
  Result<std::string> text(std::string_view key, std::string fallback) const;
  Result<std::int64_t> integer(std::string_view key) const;  // >= 0
  Result<std::int64_t> integer(std::string_view key, std::int64_t fallback) const;
  Result<double> number(std::string_view key, double fallback) const;  // finite
  Result<bool> flag(std::string_view key, bool fallback) const;
  Result<std::vector<std::string_view>> strings(std::string_view key) const;
  // An array of exactly `count` elements.
  Result<std::vector<std::int64_t>> integers(std::string_view key, std::size_t count) const;
  Result<std::vector<double>> numbers(std::string_view key, std::size_t count) const;

 private:
  Error wrong(std::string_view key, std::string_view wanted) const;
  Error missing(std::string_view key, std::string_view wanted) const;

  const GgufHeader& header_;
  std::string where_;
};

}  // namespace vernier
