// Metadata and tensor table of a GGUF file to be written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf/file.h"

namespace vernier {

constexpr std::int64_t gguf_alignment = 32;  // what files without general.alignment have

class GgufHeaderWriter {
 public:
  void text(std::string_view key, std::string_view value);
  void u16(std::string_view key, std::int64_t value);
  void u32(std::string_view key, std::int64_t value);
  void i32(std::string_view key, std::int64_t value);
  void f32(std::string_view key, double value);
  void flag(std::string_view key, bool value);
  void strings(std::string_view key, const std::vector<std::string>& values);
  void f32s(std::string_view key, const std::vector<float>& values);
  void i32s(std::string_view key, const std::vector<std::int32_t>& values);
  void value(std::string_view key, const GgufValue& value);  // of another file
  // Offsets are set here: tensors follow each other, each on a multiple of gguf_alignment.
  void tensor(GgufTensor tensor);
  // A tensor whose bytes header() ends with; before all others.
  void small_tensor(GgufTensor tensor, std::string_view bytes);

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  // What follows header(); a tensor lies there at its offset less small_bytes().
  std::int64_t small_bytes() const { return static_cast<std::int64_t>(small_.size()); }
  std::int64_t data_bytes() const { return data_bytes_ - small_bytes(); }
  // Everything before the data of tensor()s, padded.
  std::string header() const;

 private:
  template <class T>
  void number(T value);
  void string(std::string_view value);
  void key(std::string_view name, GgufKind kind);

  std::string metadata_;
  std::uint64_t values_ = 0;
  std::vector<GgufTensor> tensors_;
  std::string small_;
  std::int64_t data_bytes_ = 0;
};

}  // namespace vernier
