// Which cores this process may use, and how much of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vernier {

// Core numbers of the affinity mask that the process started with.
const std::vector<int>& allowed_cores();

// Cores' worth of time that a cpu.max file ("200000 100000", "max 100000") grants; 0 when it sets no limit or is not
// one.
double quota_of_cpu_max(std::string_view text);

// How many numbers a list in Linux's way has ("0-1,3" has 3); 0 when it is not one.
int numbers_in_list(std::string_view text);

// Memory nodes of the machine; 1 where the kernel does not say.
int memory_nodes();

// The smallest quota among this process's cgroup and its parents (v2), 0 for none.
double cpu_quota();

}  // namespace vernier
