// Choosing a kernel variant: the families' variants.inc tables meet the active ISA here.
//
// A family lists its variants once, in variants.inc, one line each:
//     TW_VARIANT(avx512, Isa::avx512, 2)      // namespace and name, ISA needed, rank
// and each variant's file defines `extern const <Family>Kernels <family>_kernels` in its namespace.
// The driver makes its table of them, g_variants, by including base/family.inc.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "base/cpu.h"
#include "base/types.h"

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

  // Its kernels for T, where a family has a table for each type.
  template <class T>
  const auto& of() const {
    if constexpr (std::is_same_v<T, float>)
      return best().table->f32;
    else if constexpr (std::is_same_v<T, bfloat16>)
      return best().table->bf16;
    else
      return best().table->f64;
  }

  const Variant<Table>* begin() const { return variants_; }
  const Variant<Table>* end() const { return variants_ + N; }

 private:
  const Variant<Table> (&variants_)[N];
  mutable std::atomic<const Variant<Table>*> chosen_{nullptr};
  mutable std::atomic<int> generation_{-1};
};

// One variant as it stands in this process.
struct VariantStatus {
  const char* name;
  Isa needs;
  bool runs;    // this machine can run it
  bool serves;  // it is the one that calls go to now
  std::string reason;
};

// What a family's table looks like from outside: registers itself when it is constructed, at load
// time.
class VariantListing {
 public:
  template <class Table, std::size_t N>
  VariantListing(const char* family, const VariantTable<Table, N>& table)
      : family_(family), table_(&table), status_([](const void* object) {
          const auto& t = *static_cast<const VariantTable<Table, N>*>(object);
          std::vector<VariantStatus> rows;
          for (const Variant<Table>& v : t)
            rows.push_back(describe(v.name, v.needs, t.best().name));
          return rows;
        }) {
    next_ = first_;
    first_ = this;
  }

  static const VariantListing* first() { return first_; }
  const VariantListing* next() const { return next_; }
  const char* family() const { return family_; }
  std::vector<VariantStatus> status() const { return status_(table_); }

 private:
  static VariantStatus describe(const char* name, Isa needs, const char* serving);

  static inline constinit const VariantListing* first_ = nullptr;
  const char* family_;
  const void* table_;
  std::vector<VariantStatus> (*status_)(const void*);
  const VariantListing* next_;
};

}  // namespace tilework
