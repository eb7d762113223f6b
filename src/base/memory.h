// Byte counts as users write them, and what this process really holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vernier/status.h"

namespace vernier {

Result<std::int64_t> parse_bytes(std::string_view text);  // "4G", "512M", "1.5 GiB"; powers of 1024
std::string format_bytes(std::int64_t bytes);             // "1.50 GiB"

std::int64_t resident_bytes();       // VmRSS: mapped pages included
std::int64_t peak_resident_bytes();  // VmHWM
std::int64_t available_bytes();      // what the machine (or its cgroup) can still give

// Returns freed heap pages to the system, so that a finished stage does not count against the next one.
void trim_heap();
// The opposite, for the rest of the process: large buffers that are made and freed again and again stay mapped, which
// saves the page faults. For inference, not under a memory budget.
void keep_freed_memory();

}  // namespace vernier
