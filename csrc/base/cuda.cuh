// The one header that CUDA kernels include. nvcc and NVRTC build them for a card; any other
// compiler for the simulator (cudasim/), where they run on the host.
//
// Kernels stay within what both know: no cooperative groups, no textures, no <<<>>>, and PTX by the
// functions of base/ptx.cuh alone.
//
//     TW_SHARED(float, tile, [32][33]);        a shared array
//     TW_DYNAMIC_SHARED(float, buffer);        the launch's shared memory, as a pointer
//     TW_LAUNCH(kernel, grid, block, dynamic_shared, stream, arguments...)
//     TW_KERNEL(threads, name, parameters...) { ... }   a kernel that engines call by its name
//     TW_KERNEL_TOGETHER(threads, blocks, name, parameters...)   of whose blocks a multiprocessor
//                                               holds so many at once: the compiler spares
//                                               registers
//
// The parameters of a TW_KERNEL are pointers, int64_t and double: what Python's numbers are, so
// that every way to launch passes eight bytes each. `threads` is the most that a block of it has.
#pragma once

#if defined(__CUDACC__)

#include "base/device.h"
#if !defined(__CUDACC_RTC__)
#include <cuda_runtime.h>
#else  // which has mathematical functions and no <math.h>
#define INFINITY __int_as_float(0x7F800000)
#define NAN __int_as_float(0x7FC00000)
#endif

#define TW_SHARED(type, name, dimensions) __shared__ __align__(16) type name dimensions
#define TW_DYNAMIC_SHARED(type, name)                               \
  extern __shared__ __align__(128) unsigned char name##_as_bytes[]; \
  type* const name = reinterpret_cast<type*>(name##_as_bytes)
#define TW_NOINLINE __noinline__
#define TW_LAUNCH(kernel, grid, block, dynamic_shared, stream, ...) \
  kernel<<<grid, block, dynamic_shared, stream>>>(__VA_ARGS__)

#else

#include "cudasim/atomics.h"
#include "cudasim/builtins.h"
#include "cudasim/launch.h"
#include "cudasim/memory.h"

#define TW_SHARED(type, name, dimensions) \
  using name##_array = type dimensions;   \
  name##_array& name =                    \
      *static_cast<name##_array*>(::tilework::cudasim::shared_array(sizeof(name##_array)))
#define TW_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::tilework::cudasim::dynamic_shared())
#define TW_NOINLINE __attribute__((noinline))
#define TW_LAUNCH(kernel, grid, block, dynamic_shared, stream, ...) \
  ::tilework::cudasim::launch(#kernel, kernel, {grid, block, dynamic_shared}, __VA_ARGS__)

#endif

#if defined(TILEWORK_KERNEL_TABLE)
#include "base/kernel_table.h"
#define TW_KERNEL_BOUNDED(bounds, threads, name, ...)                                \
  extern "C" __global__ void bounds name(__VA_ARGS__);                               \
  static const ::tilework::KernelEntry name##_entry(#name, __FILE__, threads, name); \
  extern "C" __global__ void bounds name(__VA_ARGS__)
#elif defined(TILEWORK_KERNEL_NAMES)
// The kernel's name alone, for who looks for its file: the body goes to a template that nobody
// makes.
#define TW_KERNEL_BOUNDED(bounds, threads, name, ...) \
  extern "C" __global__ void name() {}                \
  template <class>                                    \
  __device__ void name##_unmade(__VA_ARGS__)
#else
#define TW_KERNEL_BOUNDED(bounds, threads, name, ...) \
  extern "C" __global__ void bounds name(__VA_ARGS__)
#endif
#define TW_KERNEL(threads, name, ...) \
  TW_KERNEL_BOUNDED(__launch_bounds__(threads), threads, name, __VA_ARGS__)
#define TW_KERNEL_TOGETHER(threads, blocks, name, ...) \
  TW_KERNEL_BOUNDED(__launch_bounds__(threads, blocks), threads, name, __VA_ARGS__)
