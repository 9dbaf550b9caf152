// What code is marked with that runs on a device too, built by nvcc or, out of the shipped source,
// by NVRTC, which has no headers of its own. Such code is plain C++ on integers and floats, no
// std:: and no intrinsics: it is constexpr, which holds it to that.
#pragma once

#if defined(__CUDACC_RTC__)
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
#else
#include <stdint.h>
#endif

#if defined(__CUDACC__)
#define TW_HOST_DEVICE __host__ __device__ __forceinline__
#else
// Always inlined: files built for one ISA call it, and an out-of-line copy of theirs could be the
// one that the linker keeps for everybody.
#define TW_HOST_DEVICE [[gnu::always_inline]] inline
#endif
