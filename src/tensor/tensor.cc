#include "vernier/tensor.h"

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

namespace vernier {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  std::int64_t bytes;
};
constexpr Row rows[] = {
    {DType::boolean, "BOOL", 1},    {DType::u8, "U8", 1},   {DType::i8, "I8", 1},   {DType::f8_e5m2, "F8_E5M2", 1},
    {DType::f8_e4m3, "F8_E4M3", 1}, {DType::i16, "I16", 2}, {DType::u16, "U16", 2}, {DType::f16, "F16", 2},
    {DType::bf16, "BF16", 2},       {DType::i32, "I32", 4}, {DType::u32, "U32", 4}, {DType::f32, "F32", 4},
    {DType::f64, "F64", 8},         {DType::i64, "I64", 8}, {DType::u64, "U64", 8},
};

}  // namespace

std::int64_t size_bytes(DType dtype) { return rows[static_cast<int>(dtype)].bytes; }
std::string_view name(DType dtype) { return rows[static_cast<int>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& row : rows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

bool is_float(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f32 || dtype == DType::f64;
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (std::int64_t d : dims_) product *= d;
  return product;
}

std::string Shape::text() const {
  std::string text = "[";
  for (std::size_t i = 0; i < dims_.size(); ++i) text += (i ? ", " : "") + std::to_string(dims_[i]);
  return text + "]";
}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), size_(shape_.elements() * size_bytes(dtype)) {
  const std::size_t rounded = (static_cast<std::size_t>(size_) + 63) / 64 * 64;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, rounded ? rounded : 64));
  if (!memory) throw std::bad_alloc();
  data_.reset(memory);
  std::memset(memory, 0, rounded);
}

void Tensor::Free::operator()(std::byte* p) const { std::free(p); }

Matrix<float> Tensor::matrix() {
  assert(dtype_ == DType::f32);
  const std::int64_t n = shape_.elements();
  const std::int64_t first = shape_.rank() < 2 ? 1 : shape_[0];
  return {reinterpret_cast<float*>(data_.get()), first, first ? n / first : 0};
}

Matrix<const float> Tensor::matrix() const { return const_cast<Tensor*>(this)->matrix(); }

}  // namespace vernier
