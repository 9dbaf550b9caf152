#include "base/cgroup.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/text_file.h"

namespace tilework {
namespace {

// The file's first number ("max", or no such file, gives none), and the second where it has two.
struct Numbers {
  std::optional<double> first, second;
};
Numbers read_numbers(const std::string& path) {
  Numbers numbers;
  const std::vector<std::string> lines = lines_of(path);
  const std::vector<std::string> words = words_of(lines.empty() ? "" : lines[0]);
  if (!words.empty()) numbers.first = number_of(words[0]);
  if (numbers.first && words.size() > 1) numbers.second = number_of(words[1]);
  return numbers;
}

void tighten(CgroupLimits& limits, double quota, double period) {
  if (quota > 0 && period > 0) limits.cpus = std::min(limits.cpus, quota / period);
}

// The number behind `name` in a file of such lines.
double read_entry(const std::string& path, const std::string& name) {
  for (const std::string& line : lines_of(path)) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() > 1 && words[0] == name) return number_of(words[1]).value_or(0);
  }
  return 0;
}

struct MemoryFiles {
  const char *limit, *used, *cache;  // the last one names an entry of memory.stat
};

void tighten(CgroupLimits& limits, const std::string& folder, const MemoryFiles& files) {
  constexpr double kUnlimited = 0x1p62;  // version 1 writes "no limit" as nearly 2^63
  const std::optional<double> bytes = read_numbers(folder + files.limit).first;
  if (!bytes || *bytes >= kUnlimited) return;
  limits.memory_bytes = std::min(limits.memory_bytes, static_cast<int64_t>(*bytes));
  const double used = read_numbers(folder + files.used).first.value_or(0);
  const double cache = read_entry(folder + "/memory.stat", files.cache);
  const double left = std::max(0.0, *bytes - std::max(0.0, used - cache));
  limits.memory_left = std::min(limits.memory_left, static_cast<int64_t>(left));
}

void read_group(CgroupLimits& limits, const std::string& folder) {
  const Numbers cpu_max = read_numbers(folder + "/cpu.max");  // version 2: "quota period"
  if (cpu_max.first && cpu_max.second) tighten(limits, *cpu_max.first, *cpu_max.second);
  tighten(limits, folder, {"/memory.max", "/memory.current", "file"});
  const Numbers quota = read_numbers(folder + "/cpu.cfs_quota_us");  // version 1: -1 is no limit
  const Numbers period = read_numbers(folder + "/cpu.cfs_period_us");
  if (quota.first && period.first) tighten(limits, *quota.first, *period.first);
  tighten(limits, folder, {"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_cache"});
}

}  // namespace

CgroupLimits read_cgroup_limits(const std::string& root) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  CgroupLimits limits{std::numeric_limits<double>::infinity(), kNone, kNone};
  const std::string mount = root + "/sys/fs/cgroup";
  for (const std::string& line : lines_of(root + "/proc/self/cgroup")) {  // "id:controllers:path"
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
