#include "base/variants.h"

#include <cstring>

namespace tilework {

VariantStatus VariantListing::describe(const char* name, Isa needs, const char* serving) {
  VariantStatus s{name, needs, needs <= cpu_info().best, std::strcmp(name, serving) == 0, ""};
  const std::string isa = isa_name(active_isa());
  const std::string wants =  // not said of a variant that bears its ISA's name
      std::strcmp(name, isa_name(needs)) == 0 ? "" : std::string("needs ") + isa_name(needs) + "; ";
  if (s.serves) {
    s.reason = "the best for the active ISA, " + isa;
  } else if (needs == Isa::avx512bf16 && s.runs && active_isa() == cpu_info().chosen &&
             cpu_info().chosen < needs) {
    s.reason = wants + "slower here: this CPU's vdpbf16ps does half the products of its FMAs";
  } else if (needs > active_isa() && s.runs) {
    s.reason = wants + "the ISA is held to " + isa;
  } else if (s.runs) {
    s.reason = std::string("outranked by ") + serving;
  } else if (needs == Isa::amx && !cpu_info().amx_refusal.empty()) {
    s.reason = wants + cpu_info().amx_refusal;
  } else {
    s.reason = wants + "this machine has " + isa_name(cpu_info().best);
  }
  return s;
}

}  // namespace tilework
