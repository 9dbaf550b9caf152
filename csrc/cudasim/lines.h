// Where in the source an access stands: a number, small enough to be kept with every two bytes.
#pragma once

#include <stdint.h>

#include <string>

#include "cudasim/fault.h"

namespace tilework::cudasim {

uint32_t line_number(uintptr_t return_address);
uint32_t line_number(Site at);
// "softmax.cuh:42"; where the program has no debug information, "softmax_test+0x1f3a".
std::string line_text(uint32_t line);

}  // namespace tilework::cudasim
