#include "base/cpu.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "base/text_file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tilework {
namespace {

#if defined(TILEWORK_TILE_TWIN)
constexpr const char* kNames[] = {"generic", "avx2", "avx512", "twin", "avx512bf16", "amx"};
constexpr Isa kAvx512 = Isa::twin;
#else
constexpr const char* kNames[] = {"generic", "avx2", "avx512", "avx512bf16", "amx"};
constexpr Isa kAvx512 = Isa::avx512;
#endif
// What AVX2 is enough for.
#if defined(TILEWORK_AVX512_TWIN)
constexpr Isa kAvx2 = Isa::avx512bf16;
#else
constexpr Isa kAvx2 = Isa::avx2;
#endif
constexpr int kIsaCount = sizeof(kNames) / sizeof(kNames[0]);

#if defined(__x86_64__)
// The register state that the system saves (XCR0): a CPU feature without it is not usable.
uint64_t xcr0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

Isa detect(std::string& amx_refusal) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::generic;
  const bool osxsave = c & bit_OSXSAVE, avx = c & bit_AVX, fma = c & bit_FMA;
  if (!osxsave || !avx || !fma || (xcr0() & 0x6) != 0x6) return Isa::generic;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::generic;
  if (!(b & bit_AVX2) || !(b & bit_BMI2)) return Isa::generic;
  const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((b & avx512) != avx512 || (xcr0() & 0xe6) != 0xe6) return kAvx2;
  constexpr uint32_t amx_tile = 1u << 24, amx_bf16 = 1u << 22, avx512_bf16 = 1u << 5;
  const bool has_amx = (d & amx_tile) && (d & amx_bf16);
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & avx512_bf16)) return kAvx512;
  if (!has_amx) return Isa::avx512bf16;
  if ((xcr0() & 0x60000) != 0x60000) {
    amx_refusal = "the system does not save AMX tile registers (XCR0)";
    return Isa::avx512bf16;
  }
  if (!request_amx_permission()) {
    amx_refusal = "the kernel refused arch_prctl(ARCH_REQ_XCOMP_PERM)";
    return Isa::avx512bf16;
  }
  return Isa::amx;
}

Isa choose(Isa best) {
  if (best != Isa::avx512bf16) return best;
#if defined(TILEWORK_AVX512_TWIN)
  return kAvx512;
#endif
  uint32_t a, b, c, d;
  constexpr uint32_t avx512_fp16 = 1u << 23;
  const bool intel = __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
  const bool slow = intel && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & avx512_fp16);
  return slow ? kAvx512 : best;
}
#else
Isa detect(std::string&) { return Isa::generic; }
Isa choose(Isa best) { return best; }
#endif

std::string model_name() {
  for (const std::string& line : lines_of("/proc/cpuinfo"))
    if (line.rfind("model name", 0) == 0 || line.rfind("Processor", 0) == 0)
      return line.substr(line.find(':') + 2);
  return "unknown";
}

std::atomic<int> g_forced{-1};  // -1: the chosen one
std::atomic<int> g_generation{0};

int parse(const std::string& name, const char* source) {
  if (name.empty() || name == "auto") return -1;
  const std::string prefix = std::string("[") + source + "] expected ",
                    best = isa_name(cpu_info().best);
  for (int i = 0; i < kIsaCount; ++i)
    if (name == kNames[i]) {
      if (static_cast<Isa>(i) <= cpu_info().best) return i;
      const std::string why = i == static_cast<int>(Isa::amx) ? cpu_info().amx_refusal : "";
      throw std::invalid_argument(prefix + "an ISA that runs on this machine, " + best +
                                  " at best; got '" + name +
                                  "': " + (why.empty() ? "this CPU lacks it" : why));
    }
  throw std::invalid_argument(prefix + "generic, avx2, avx512, avx512bf16, amx or auto; got '" +
                              name + "': name one of them");
}

}  // namespace

bool request_amx_permission() {
#if defined(__x86_64__)
  constexpr int kRequest = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

const CpuInfo& cpu_info() {
  static const CpuInfo info = [] {
    CpuInfo i;
    i.model = model_name();
    i.best = detect(i.amx_refusal);
    i.chosen = choose(i.best);
    i.l1d_bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    i.l2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    i.l3_bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return i;
  }();
  return info;
}

int64_t read_ahead_bytes() {
  static const int64_t bytes = [] {
#if defined(__x86_64__)
    uint32_t a, b, c, d;
    if (cpu_info().best >= kAvx512 && __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx)
      return 0;
#endif
    return 2048;
  }();
  return bytes;
}

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa active_isa() {
  // Not std::call_once: an exception does not survive the C library's pthread_once where the
  // unwinder is linked statically, as in the wheel. A static that throws is tried again.
  [[maybe_unused]] static const bool environment_read = [] {
    const char* name = std::getenv("TILEWORK_ISA");
    if (!name || g_forced.load() >= 0) return true;
    try {
      g_forced.store(parse(name, "TILEWORK_ISA"));
    } catch (const std::invalid_argument& error) {
      throw std::runtime_error(error.what());  // no argument of the call at hand is to blame
    }
    return true;
  }();
  const int forced = g_forced.load(std::memory_order_relaxed);
  return forced < 0 ? cpu_info().chosen : static_cast<Isa>(forced);
}

void set_isa(const std::string& name) {
  g_forced.store(parse(name, "set_isa"));
  g_generation.fetch_add(1);
}

int isa_generation() { return g_generation.load(std::memory_order_acquire); }

}  // namespace tilework
