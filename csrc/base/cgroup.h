// What a container leaves this process: the limits of its control groups, versions 1 and 2.
#pragma once

#include <cstdint>
#include <string>

namespace tilework {

struct CgroupLimits {
  double cpus;           // CPU time a period allows, in CPUs; infinity where nothing limits it
  int64_t memory_bytes;  // INT64_MAX where nothing limits it
  int64_t memory_left;   // of it, what is not in use (the page cache is not), by the tightest group
};

// The tightest limit between the process's own group and the root: a parent's binds its children.
// `root` stands before /proc and /sys, for tests.
CgroupLimits read_cgroup_limits(const std::string& root = "");

}  // namespace tilework
