// Choosing a kernel variant: the families' variants.inc tables meet the active ISA here.
//
// A family lists its variants once, in variants.inc, one line each:
//     TW_VARIANT(avx512, Isa::avx512, 2)      // namespace and name, ISA needed, rank
// and each variant's file defines `extern const <Family>Kernels <family>_kernels` in its namespace.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/cpu.h"

namespace tilework {

template <class Table>
struct Variant {
  const char* name;
  Isa needs;
  int rank;
  const Table* table;
};

// The family's best variant for the active ISA, looked up once per change of ISA.
template <class Table, std::size_t N>
class VariantTable {
 public:
  constexpr explicit VariantTable(const Variant<Table> (&variants)[N]) : variants_(variants) {}

  const Variant<Table>& best() const {
    int generation = isa_generation();
    const Variant<Table>* chosen = chosen_.load(std::memory_order_acquire);
    if (generation_.load(std::memory_order_relaxed) != generation || chosen == nullptr) {
      const Isa isa = active_isa();
      for (std::size_t i = 0; i < N; ++i)
        if (variants_[i].needs <= isa &&
            (chosen == nullptr || chosen->needs > isa || variants_[i].rank > chosen->rank))
          chosen = &variants_[i];
      chosen_.store(chosen, std::memory_order_release);
      generation_.store(generation, std::memory_order_relaxed);
    }
    return *chosen;
  }
  const Table* operator->() const { return best().table; }

  const Variant<Table>* begin() const { return variants_; }
  const Variant<Table>* end() const { return variants_ + N; }

 private:
  const Variant<Table> (&variants_)[N];
  mutable std::atomic<const Variant<Table>*> chosen_{nullptr};
  mutable std::atomic<int> generation_{-1};
};

}  // namespace tilework
