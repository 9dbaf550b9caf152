#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

namespace tilework {
namespace {

// The file's first number ("max", or no such file, gives none), and the second where it has two.
struct Numbers {
  std::optional<double> first, second;
};
Numbers read_numbers(const std::string& path) {
  std::ifstream file(path);
  Numbers numbers;
  double x;
  if (file >> x) numbers.first = x;
  if (file >> x) numbers.second = x;
  return numbers;
}

void tighten(CgroupLimits& limits, double quota, double period) {
  if (quota > 0 && period > 0) limits.cpus = std::min(limits.cpus, quota / period);
}

void tighten(CgroupLimits& limits, std::optional<double> bytes) {
  constexpr double kUnlimited = 0x1p62;  // version 1 writes "no limit" as nearly 2^63
  if (bytes && *bytes < kUnlimited)
    limits.memory_bytes = std::min(limits.memory_bytes, static_cast<int64_t>(*bytes));
}

void read_group(CgroupLimits& limits, const std::string& folder) {
  const Numbers cpu_max = read_numbers(folder + "/cpu.max");  // version 2: "quota period"
  if (cpu_max.first && cpu_max.second) tighten(limits, *cpu_max.first, *cpu_max.second);
  tighten(limits, read_numbers(folder + "/memory.max").first);
  const Numbers quota = read_numbers(folder + "/cpu.cfs_quota_us");  // version 1: -1 is no limit
  const Numbers period = read_numbers(folder + "/cpu.cfs_period_us");
  if (quota.first && period.first) tighten(limits, *quota.first, *period.first);
  tighten(limits, read_numbers(folder + "/memory.limit_in_bytes").first);
}

}  // namespace

CgroupLimits read_cgroup_limits(const std::string& root) {
  CgroupLimits limits{std::numeric_limits<double>::infinity(), std::numeric_limits<int64_t>::max()};
  const std::string mount = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "id:controllers:path"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string hierarchy = controllers.empty() ? mount : mount + "/" + controllers;
    // A container often sees its own group as the mount's root under a path of the host's that is
    // not there: the walk up ends at that root, and skips what does not exist.
    std::string path = line.substr(second + 1);
    for (; path.size() > 1 && path[0] == '/'; path.resize(path.rfind('/')))
      read_group(limits, hierarchy + path);
    read_group(limits, hierarchy);
  }
  return limits;
}

}  // namespace tilework
