// Moves of elements whose type does not matter, by their width alone.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

// Calls body(U()), U an unsigned integer as wide as an element of so many bytes: 1, 2, 4 or 8.
template <class Body>
auto with_width(size_t itemsize, Body body) {
  switch (itemsize) {
    case 1:
      return body(uint8_t());
    case 2:
      return body(uint16_t());
    case 4:
      return body(uint32_t());
    default:
      return body(uint64_t());
  }
}

}  // namespace tilework
