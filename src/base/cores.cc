#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

namespace vernier {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The "0::/path" line of /proc/self/cgroup: where this process sits in the unified hierarchy.
std::string cgroup_path() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return {};
}

}  // namespace

const std::vector<int>& allowed_cores() {
  static const std::vector<int> cores = [] {
    std::vector<int> found;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
      for (int core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(core, &set)) found.push_back(core);
      }
    }
    for (unsigned core = 0; found.empty() && core < std::max(1u, std::thread::hardware_concurrency()); ++core)
      found.push_back(static_cast<int>(core));
    return found;
  }();
  return cores;
}

double quota_of_cpu_max(std::string_view text) {
  double quota_us = 0, period_us = 0;
  std::istringstream words{std::string(text)};
  if (!(words >> quota_us >> period_us) || quota_us <= 0 || period_us <= 0) return 0;
  return quota_us / period_us;
}

int numbers_in_list(std::string_view text) {
  std::istringstream ranges{std::string(text)};
  int count = 0;
  for (std::string range; std::getline(ranges, range, ',');) {
    int first = 0, last = 0;
    char dash = 0;
    std::istringstream words(range);
    if (!(words >> first) || first < 0) return 0;
    if (!(words >> dash))
      last = first;
    else if (dash != '-' || !(words >> last) || last < first)
      return 0;
    count += last - first + 1;
  }
  return count;
}

int memory_nodes() {
  static const int nodes = std::max(1, numbers_in_list(first_line("/sys/devices/system/node/online")));
  return nodes;
}

double cpu_quota() {
  static const double quota = [] {
    double smallest = 0;
    for (std::string path = cgroup_path(); !path.empty(); path.resize(path.rfind('/'))) {
      const double found = quota_of_cpu_max(first_line("/sys/fs/cgroup" + path + "/cpu.max"));
      if (found > 0 && (smallest == 0 || found < smallest)) smallest = found;
    }
    return smallest;
  }();
  return quota;
}

}  // namespace vernier
