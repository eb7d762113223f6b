#include "io/gguf/header_writer.h"

#include <cstring>

namespace vernier {
namespace {

constexpr std::uint32_t version = 3;

template <class T>
void append(std::string& text, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof value);
  text.append(bytes, sizeof value);
}

void append_string(std::string& text, std::string_view value) {
  append<std::uint64_t>(text, value.size());
  text += value;
}

}  // namespace

template <class T>
void GgufHeaderWriter::number(T value) {
  append(metadata_, value);
}

void GgufHeaderWriter::string(std::string_view value) { append_string(metadata_, value); }

void GgufHeaderWriter::key(std::string_view name, GgufKind kind) {
  string(name);
  number(static_cast<std::uint32_t>(kind));
  ++values_;
}

void GgufHeaderWriter::text(std::string_view name, std::string_view value) {
  key(name, GgufKind::string);
  string(value);
}

void GgufHeaderWriter::u16(std::string_view name, std::int64_t value) {
  key(name, GgufKind::u16);
  number(static_cast<std::uint16_t>(value));
}

void GgufHeaderWriter::u32(std::string_view name, std::int64_t value) {
  key(name, GgufKind::u32);
  number(static_cast<std::uint32_t>(value));
}

void GgufHeaderWriter::i32(std::string_view name, std::int64_t value) {
  key(name, GgufKind::i32);
  number(static_cast<std::int32_t>(value));
}

void GgufHeaderWriter::f32(std::string_view name, double value) {
  key(name, GgufKind::f32);
  number(static_cast<float>(value));
}

void GgufHeaderWriter::flag(std::string_view name, bool value) {
  key(name, GgufKind::boolean);
  number(static_cast<std::uint8_t>(value));
}

void GgufHeaderWriter::strings(std::string_view name, const std::vector<std::string>& values) {
  key(name, GgufKind::array);
  number(static_cast<std::uint32_t>(GgufKind::string));
  number<std::uint64_t>(values.size());
  for (const std::string& value : values) string(value);
}

void GgufHeaderWriter::f32s(std::string_view name, const std::vector<float>& values) {
  key(name, GgufKind::array);
  number(static_cast<std::uint32_t>(GgufKind::f32));
  number<std::uint64_t>(values.size());
  for (float value : values) number(value);
}

void GgufHeaderWriter::i32s(std::string_view name, const std::vector<std::int32_t>& values) {
  key(name, GgufKind::array);
  number(static_cast<std::uint32_t>(GgufKind::i32));
  number<std::uint64_t>(values.size());
  for (std::int32_t value : values) number(value);
}

void GgufHeaderWriter::value(std::string_view name, const GgufValue& value) {
  key(name, value.kind());
  if (value.is_array()) {
    number(static_cast<std::uint32_t>(value.element()));
    number(static_cast<std::uint64_t>(value.count()));
  }
  metadata_.append(reinterpret_cast<const char*>(value.bytes().data()), value.bytes().size());
}

void GgufHeaderWriter::tensor(GgufTensor tensor) {
  tensor.offset = data_bytes_;
  data_bytes_ = (tensor.offset + tensor.bytes() + gguf_alignment - 1) / gguf_alignment * gguf_alignment;
  tensors_.push_back(std::move(tensor));
}

void GgufHeaderWriter::small_tensor(GgufTensor added, std::string_view bytes) {
  tensor(std::move(added));
  small_ += bytes;
  small_.resize(static_cast<std::size_t>(data_bytes_));
}

std::string GgufHeaderWriter::header() const {
  std::string text = "GGUF";
  append(text, version);
  append<std::uint64_t>(text, tensors_.size());
  append(text, values_);
  text += metadata_;
  for (const GgufTensor& tensor : tensors_) {
    append_string(text, tensor.name);
    const auto& dims = tensor.shape.dims();
    append(text, static_cast<std::uint32_t>(dims.size()));
    for (auto dim = dims.rbegin(); dim != dims.rend(); ++dim) append(text, static_cast<std::uint64_t>(*dim));
    append(text, tensor.type->id);
    append(text, static_cast<std::uint64_t>(tensor.offset));
  }
  constexpr auto alignment = static_cast<std::size_t>(gguf_alignment);
  text.resize((text.size() + alignment - 1) / alignment * alignment);
  return text + small_;
}

}  // namespace vernier
