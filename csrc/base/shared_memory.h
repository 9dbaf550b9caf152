// How much shared memory a block may take.
#pragma once

#include <stddef.h>

namespace tilework {

// Without asking a block has 48 KiB, of the arrays that it declares and the dynamic part together.
// A launch asks where the dynamic part is above this, so that 16 KiB are left to be declared.
inline constexpr size_t kSharedWithoutAsking = 48 * 1024;
inline constexpr size_t kDynamicSharedUnasked = 32 * 1024;

}  // namespace tilework
