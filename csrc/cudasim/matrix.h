// Twins of the PTX instructions that feed tensor cores: ldmatrix and mma.sync. Fragments lie in
// registers as the PTX ISA's figures say ("Matrix fragments for mma.m16n8k16", "... m16n8k8"):
// with row = lane / 4 and column = lane % 4,
//
//     A, 16 x 16 of 16 bits   {row, row + 8} x {2 column, 2 column + 8}, two elements a register
//     A, 16 x 8 of tf32       {row, row + 8} x {column, column + 4}
//     B                       the same with n in the place of row: k x n
//     C and D, 16 x 8         {row, row + 8} x {2 column, 2 column + 1}, float32
#pragma once

#include <stdint.h>

#include "cudasim/fault.h"

namespace tilework::cudasim {

enum class Element { bf16, f16, tf32 };

// `count` (1, 2 or 4) matrices of 8 x 8 elements of 16 bits: lane 8i + r gives the address of row r
// of the i-th. Each lane gets one register of each.
void ldmatrix(int count, bool transposed, const void* row, uint32_t* registers, Site at);

// d = a b + c. A product of tf32 is of as many bits as the format has: the lower 13 are not read.
void mma(Element element, float* d, const uint32_t* a, const uint32_t* b, const float* c, Site at);

}  // namespace tilework::cudasim
