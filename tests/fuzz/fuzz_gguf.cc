// A whole GGUF file in memory: header, then configuration and tokenizer from its metadata.
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/gguf/checkpoint.h"
#include "io/tokenizer/gguf_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto header = vernier::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (!header.ok()) return 0;
  for (const auto& tensor : header->tensors)
    if (header->data_offset + tensor.offset + tensor.bytes() > static_cast<std::int64_t>(size)) __builtin_trap();
  const vernier::GgufReader metadata(*header, "fuzz.gguf");
  static_cast<void>(vernier::gguf_config(metadata, header->tensors, {}));
  static_cast<void>(vernier::parse_gguf_tokenizer(metadata));
  return 0;
}
