// Accesses of several elements that a card makes as one: the host's compiler would take them apart,
// and the monitor would see each piece by itself.
#pragma once

#include <stddef.h>

#include "cudasim/monitor.h"

namespace tilework::cudasim {

void load_wide(void* to, const void* from, size_t bytes, size_t alignment, Space space, Site at);
void store_wide(void* to, const void* from, size_t bytes, size_t alignment, Space space, Site at);

}  // namespace tilework::cudasim
