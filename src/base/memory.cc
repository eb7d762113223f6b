#include "base/memory.h"

#include <malloc.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/fail.h"

namespace vernier {
namespace {

// A "Name:   1234 kB" line of a /proc file, in bytes; -1 when absent.
std::int64_t proc_bytes(const char* path, const char* key) {
  std::FILE* file = std::fopen(path, "r");
  if (!file) return -1;
  char line[256];
  std::int64_t found = -1;
  while (found < 0 && std::fgets(line, sizeof line, file)) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) found = std::atoll(line + std::strlen(key)) * 1024;
  }
  std::fclose(file);
  return found;
}

std::int64_t read_number(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  if (!file) return -1;
  long long value = -1;
  if (std::fscanf(file, "%lld", &value) != 1) value = -1;
  std::fclose(file);
  return value;
}

}  // namespace

Result<std::int64_t> parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit;
  for (const char* p = end; p != text.data() + text.size(); ++p) {
    if (!std::isspace(static_cast<unsigned char>(*p))) unit += static_cast<char>(std::tolower(*p));
  }
  int shift = -1;
  if (unit.empty() || unit == "b") shift = 0;
  for (int i = 0; i < 4; ++i) {
    const std::string letter(1, "kmgt"[i]);
    if (unit == letter || unit == letter + "b" || unit == letter + "ib") shift = 10 * (i + 1);
  }
  const double bytes = std::ldexp(value, std::max(shift, 0));
  if (problem != std::errc{} || shift < 0 || !(bytes >= 0) || bytes > 0x1p62) {
    return with_hint(fail(ErrorCode::invalid, "\"{}\" is not an amount of memory", text),
                     "write a number and a unit: 512M, 2G, 1.5GiB");
  }
  return static_cast<std::int64_t>(bytes);
}

std::string format_bytes(std::int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; unit < 4 && std::abs(value) >= 1024; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, units[unit]);
}

std::int64_t resident_bytes() { return std::max<std::int64_t>(0, proc_bytes("/proc/self/status", "VmRSS:")); }

std::int64_t peak_resident_bytes() { return std::max<std::int64_t>(0, proc_bytes("/proc/self/status", "VmHWM:")); }

std::int64_t available_bytes() {
  std::int64_t available = std::max<std::int64_t>(0, proc_bytes("/proc/meminfo", "MemAvailable:"));
  const std::int64_t limit = read_number("/sys/fs/cgroup/memory.max");
  const std::int64_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit > 0 && used >= 0) available = std::min(available, std::max<std::int64_t>(0, limit - used));
  return available;
}

void trim_heap() { ::malloc_trim(0); }

void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

}  // namespace vernier
