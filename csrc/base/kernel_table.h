// The kernels of a module by their names: each TW_KERNEL enters itself before the module is used.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tilework {

// A parameter's kind: 'p' a pointer, 'i' an int64_t, 'd' a double. Each takes one slot of 8 bytes.
template <class T>
constexpr char kind_of_parameter() {
  if constexpr (std::is_pointer_v<T>) {
    return 'p';
  } else if constexpr (std::is_same_v<T, double>) {
    return 'd';
  } else {
    static_assert(std::is_same_v<T, int64_t>, "a kernel takes pointers, int64_t and double");
    return 'i';
  }
}

struct KernelEntry {
  using Function = void (*)();

  template <class... Parameters>
  KernelEntry(const char* name_, const char* file_, int threads_, void (*kernel)(Parameters...))
      : name(name_),
        file(file_),
        threads(threads_),
        kinds{kind_of_parameter<Parameters>()...},
        function(reinterpret_cast<Function>(kernel)),
        call(called<Parameters...>),
        next(std::exchange(first(), this)) {}
  KernelEntry(const KernelEntry&) = delete;
  KernelEntry& operator=(const KernelEntry&) = delete;

  static KernelEntry*& first() {
    static KernelEntry* entry = nullptr;
    return entry;
  }

  const char *name, *file;
  int threads;  // the most that a block has
  std::string kinds;
  Function function;
  // Runs the kernel as a function of the host: for the simulator's threads.
  void (*call)(Function function, const uint64_t* slots);
  KernelEntry* next;

 private:
  template <class T>
  static T from_slot(uint64_t slot) {
    T value;
    memcpy(&value, &slot, sizeof value);
    return value;
  }
  template <class... Parameters>
  static void called(Function function, const uint64_t* slots) {
    call_with(reinterpret_cast<void (*)(Parameters...)>(function), slots,
              std::index_sequence_for<Parameters...>{});
  }
  template <class... Parameters, size_t... I>
  static void call_with(void (*kernel)(Parameters...), const uint64_t* slots,
                        std::index_sequence<I...>) {
    kernel(from_slot<Parameters>(slots[I])...);
  }
};

}  // namespace tilework
