// An importance matrix in memory, of either kind; what is read is written and read again.
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/imatrix.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vernier;
  const auto file = parse_imatrix(std::as_bytes(std::span(data, size)), "fuzz.imatrix");
  if (!file.ok()) return 0;
  for (const ImportanceEntry& entry : file->entries)
    if (entry.counts.empty() || entry.sums.size() % entry.counts.size() != 0) __builtin_trap();
  const std::string bytes = imatrix_bytes(*file, ImatrixKind::gguf);
  const auto again = parse_imatrix(std::as_bytes(std::span(bytes)), "again.imatrix");
  if (!again.ok() || again->entries.size() != file->entries.size()) __builtin_trap();
  return 0;
}
