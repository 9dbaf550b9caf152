// What this CPU can run, and which ISA the process uses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tilework {

// Ordered: an ISA can run every one before it. The twin is AMX's tiles in software (simd/tiles.h),
// in builds for tests alone.
#if defined(TILEWORK_TILE_TWIN)
enum class Isa : int { generic, avx2, avx512, twin, avx512bf16, amx };
#else
enum class Isa : int { generic, avx2, avx512, avx512bf16, amx };
#endif

struct CpuInfo {
  std::string model;  // as /proc/cpuinfo names it
  Isa best;           // the highest ISA that CPU and system both allow
  // What serves where none is named: the best, but avx512 in place of avx512bf16 where vdpbf16ps is
  // slow. Intel's cores since Sapphire Rapids do one in two cycles, half the products of the two
  // FMAs that a cycle has room for; those are the ones with AVX512-FP16.
  Isa chosen;
  std::string amx_refusal;  // why AMX is not offered; empty when it is, or when the CPU has none
  long l1d_bytes, l2_bytes, l3_bytes;
};

const CpuInfo& cpu_info();

const char* isa_name(Isa isa);

// How far ahead of its loads a kernel that only reads asks for lines, in bytes. 0, no further than
// they reach, on cores that follow a row across pages by themselves: AMD's with AVX-512 read a
// fifth to two fifths more a second for it.
int64_t read_ahead_bytes();

// The ISA that kernels are chosen for: TILEWORK_ISA or set_isa() where given, else the chosen one.
// Throws std::runtime_error where TILEWORK_ISA names an unknown ISA or one that cannot run here.
Isa active_isa();

// Throws std::invalid_argument on an unknown name, and on one that cannot run here.
// "" or "auto" returns to the chosen one.
void set_isa(const std::string& name);

// Raised by each set_isa(): a cached choice made under an older value is stale.
int isa_generation();

// Linux lends the AMX tile registers on request only, once for the process: true when it has.
bool request_amx_permission();

}  // namespace tilework
