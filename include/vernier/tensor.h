// Element types, shapes, and views of tensors. Everything is row-major and little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

// Element types of safetensors; the names are the ones its headers use ("BF16", "F8_E4M3", ...).
enum class DType : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64
};

std::int64_t size_bytes(DType dtype);
std::string_view name(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);
bool is_float(DType dtype);

// Dimensions, outermost first; a scalar has none.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : dims_(dims) {}
  explicit Shape(std::vector<std::int64_t> dims) : dims_(std::move(dims)) {}

  std::size_t rank() const { return dims_.size(); }
  std::int64_t operator[](std::size_t i) const { return dims_[i]; }
  const std::vector<std::int64_t>& dims() const { return dims_; }
  std::int64_t elements() const;
  std::string text() const;  // "[2048, 512]"
  bool operator==(const Shape&) const = default;

 private:
  std::vector<std::int64_t> dims_;
};

// A matrix in somebody else's memory: element (r, c) is data[r * stride + c].
template <class T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  Matrix() = default;
  Matrix(T* data, std::int64_t rows, std::int64_t cols) : Matrix(data, rows, cols, cols) {}
  Matrix(T* data, std::int64_t rows, std::int64_t cols, std::int64_t stride)
      : data(data), rows(rows), cols(cols), stride(stride) {}

  T* row(std::int64_t r) const { return data + r * stride; }
  T& operator()(std::int64_t r, std::int64_t c) const { return data[r * stride + c]; }
  Matrix rows_slice(std::int64_t first, std::int64_t count) const { return {row(first), count, cols, stride}; }
  Matrix cols_slice(std::int64_t first, std::int64_t count) const { return {data + first, rows, count, stride}; }
  operator Matrix<const T>() const requires(!std::is_const_v<T>) { return {data, rows, cols, stride}; }
};

// A typed tensor in somebody else's memory (usually a mapped file); not necessarily aligned to its element type.
struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;
};

// A tensor that owns 64-byte-aligned memory.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // zero-filled

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::span<std::byte> bytes() { return {data_.get(), static_cast<std::size_t>(size_)}; }
  std::span<const std::byte> bytes() const { return {data_.get(), static_cast<std::size_t>(size_)}; }
  TensorView view() const { return {dtype_, shape_, bytes()}; }

  template <class T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(data_.get()), static_cast<std::size_t>(size_) / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_.get()), static_cast<std::size_t>(size_) / sizeof(T)};
  }
  // The whole tensor as a float matrix [first dimension, product of the others]; a vector is one row. F32 only.
  Matrix<float> matrix();
  Matrix<const float> matrix() const;

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  DType dtype_ = DType::f32;
  Shape shape_{0};
  std::int64_t size_ = 0;
  std::unique_ptr<std::byte[], Free> data_;
};

}  // namespace vernier
