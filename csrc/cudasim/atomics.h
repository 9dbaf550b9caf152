// Atomic operations: one thread runs at a time here, so that a plain change is one; the monitor is
// told, since an atomic change and a plain access to the same place still race.
#pragma once

#include <stddef.h>
#include <string.h>

#include <type_traits>

#include "cudasim/fault.h"

namespace tilework::cudasim {

// *p as it was to *old, and what is to be there from *change.
void atomic_read(const void* p, void* old, size_t bytes, Site at);
void atomic_write(void* p, const void* value, size_t bytes);

template <class T, class Change>
T atomic_change(T* p, Change change, Site at) {
  T old;
  atomic_read(p, &old, sizeof old, at);
  const T now = change(old);
  atomic_write(p, &now, sizeof now);
  return old;
}

}  // namespace tilework::cudasim

#define TW_ATOMIC(name, expression)                                                           \
  template <class T>                                                                          \
  T name(T* p, std::type_identity_t<T> value,                                                 \
         ::tilework::cudasim::Site at = ::tilework::cudasim::Site::current()) {               \
    return ::tilework::cudasim::atomic_change(p, [=](T old) -> T { return expression; }, at); \
  }
TW_ATOMIC(atomicAdd, static_cast<T>(old + value))
TW_ATOMIC(atomicMax, old < value ? value : old)
TW_ATOMIC(atomicMin, value < old ? value : old)
TW_ATOMIC(atomicOr, old | value)
TW_ATOMIC(atomicExch, (static_cast<void>(old), value))
#undef TW_ATOMIC

template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value,
            ::tilework::cudasim::Site at = ::tilework::cudasim::Site::current()) {
  return ::tilework::cudasim::atomic_change(
      p, [=](T old) -> T { return old == expected ? value : old; }, at);
}
