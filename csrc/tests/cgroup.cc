// Limits of control groups, read from trees as version 1, version 2 and containers show them.
#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "base/cgroup.h"
#include "tests/check.h"

using namespace tilework;
namespace fs = std::filesystem;

namespace {

struct Tree {
  std::string root;
  Tree() {
    char name[] = "/tmp/tilework-cgroup-XXXXXX";
    CHECK(mkdtemp(name));
    root = name;
  }
  ~Tree() { fs::remove_all(root); }
  Tree& file(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root + path).parent_path());
    std::ofstream(root + path) << text;
    return *this;
  }
  CgroupLimits limits() const { return read_cgroup_limits(root); }
};

constexpr int64_t kNoMemoryLimit = std::numeric_limits<int64_t>::max();

}  // namespace

int main() {
  {
    const CgroupLimits none = Tree().limits();  // no cgroups at all
    CHECK(std::isinf(none.cpus) && none.memory_bytes == kNoMemoryLimit);
  }
  {
    Tree tree;  // version 2: the parent's quota is the tighter one, the child's memory
    tree.file("/proc/self/cgroup", "0::/a/b\n")
        .file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n")
        .file("/sys/fs/cgroup/a/memory.max", "max\n")
        .file("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
        .file("/sys/fs/cgroup/a/b/memory.max", "1048576\n");
    CHECK(tree.limits().cpus == 1.5 && tree.limits().memory_bytes == 1048576);
    tree.file("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    CHECK(tree.limits().cpus == 4);
    CHECK(tree.limits().memory_left == 1048576);
    tree.file("/sys/fs/cgroup/a/b/memory.current", "700000\n")
        .file("/sys/fs/cgroup/a/b/memory.stat", "anon 500000\nfile 200000\nslab 1\n");
    CHECK(tree.limits().memory_left == 548576);
    tree.file("/sys/fs/cgroup/a/memory.max", "4194304\n")
        .file("/sys/fs/cgroup/a/memory.current", "4194000\n");
    CHECK(tree.limits().memory_left == 304 && tree.limits().memory_bytes == 1048576);
  }
  {
    Tree tree;  // a container under version 2: its group is the mount's root
    tree.file("/proc/self/cgroup", "0::/host/path\n")
        .file("/sys/fs/cgroup/cpu.max", "50000 100000");
    CHECK(tree.limits().cpus == 0.5);
  }
  {
    Tree tree;  // version 1, with and without limits
    tree.file("/proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/job\nbad\n")
        .file("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n")
        .file("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
        .file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(std::isinf(tree.limits().cpus) && tree.limits().memory_bytes == kNoMemoryLimit);
    tree.file("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "200000\n")
        .file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");
    CHECK(tree.limits().cpus == 2 && tree.limits().memory_bytes == 2097152);
    tree.file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000000\n")
        .file("/sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_cache 400000\n");
    CHECK(tree.limits().memory_left == 1497152);
  }
  std::printf("cgroup: limits read\n");
}
