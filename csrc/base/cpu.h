// What this CPU can run, and which ISA the process uses.
#pragma once

#include <string>
#include <vector>

namespace tilework {

// Ordered: an ISA can run every one before it. The twin is AMX's tiles in software (simd/tiles.h),
// in builds for tests alone.
#if defined(TILEWORK_TILE_TWIN)
enum class Isa : int { generic, avx2, avx512, twin, amx };
#else
enum class Isa : int { generic, avx2, avx512, amx };
#endif

struct CpuInfo {
  std::string model;        // as /proc/cpuinfo names it
  Isa best;                 // the highest ISA that CPU and system both allow
  std::string amx_refusal;  // why AMX is not offered; empty when it is, or when the CPU has none
  long l1d_bytes, l2_bytes, l3_bytes;
};

const CpuInfo& cpu_info();

const char* isa_name(Isa isa);

// The ISA that kernels are chosen for: TILEWORK_ISA or set_isa() where given, else the best one.
// Throws std::runtime_error where TILEWORK_ISA names an unknown ISA or one that cannot run here.
Isa active_isa();

// Throws std::invalid_argument on an unknown name, and on one that cannot run here.
// "" or "auto" returns to the best.
void set_isa(const std::string& name);

// Raised by each set_isa(): a cached choice made under an older value is stale.
int isa_generation();

// Linux lends the AMX tile registers on request only, once for the process: true when it has.
bool request_amx_permission();

}  // namespace tilework
