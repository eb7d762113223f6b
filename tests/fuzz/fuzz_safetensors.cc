// A whole file in memory: header, then data.
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto header = vernier::parse_safetensors(file, static_cast<std::int64_t>(size), "fuzz.safetensors");
  if (header.ok()) {
    for (const auto& entry : header->entries) {
      if (header->data_offset + entry.begin + entry.bytes() > static_cast<std::int64_t>(size)) __builtin_trap();
    }
  }
  return 0;
}
