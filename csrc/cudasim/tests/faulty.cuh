// Kernels with a fault on purpose, one each, and what finds it. They are the simulator's own tests.
#pragma once

#include "base/ptx.cuh"

namespace tilework::cudasim::faulty {

constexpr int kBlock = 64;

// Each thread reads its neighbour's word of a shared array.
template <bool kBarrier>
__global__ void neighbour(float* y) {
  TW_SHARED(float, words, [kBlock]);
  words[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (kBarrier) __syncthreads();
  y[threadIdx.x] = words[(threadIdx.x + 1) % kBlock];
}

// Two rounds through one array, the second overwriting what others still read.
template <bool kBarrier>
__global__ void overwrite(float* y) {
  TW_SHARED(float, words, [kBlock]);
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    words[threadIdx.x] = static_cast<float>(round);
    __syncthreads();
    sum += words[kBlock - 1 - threadIdx.x];
    if (kBarrier) __syncthreads();
  }
  y[threadIdx.x] = sum;
}

// A sum over a warp in shared memory.
template <bool kBarrier>
__global__ void warp_sum(float* y) {
  TW_SHARED(float, words, [32]);
  words[threadIdx.x] = 1;
  for (unsigned half = 16; half > 0; half /= 2) {
    if (kBarrier) __syncwarp();
    const float other = threadIdx.x < half ? words[threadIdx.x + half] : 0;
    if (kBarrier) __syncwarp();
    words[threadIdx.x] += other;
  }
  if (threadIdx.x == 0) y[0] = words[0];
}

// How many threads there are, of all blocks.
template <bool kAtomic>
__global__ void count(int* y) {
  if (kAtomic) {
    atomicAdd(y, 1);
  } else {
    *y += 1;
  }
}

// Bytes beside each other, of a thread each, or of two.
template <bool kOwn>
__global__ void mark_bytes(uint8_t* y) {
  y[kOwn ? threadIdx.x : threadIdx.x / 2] = 1;
}

// A histogram of which one bin is set by a plain store beside atomic additions.
__global__ void half_atomic(int* y) {
  if (threadIdx.x == 5) {
    y[0] = 1;
  } else {
    atomicAdd(&y[0], 1);
  }
}

// Bins that nobody sets to zero first.
template <bool kZeroed>
__global__ void histogram(const int* x, int* y) {
  TW_SHARED(int, bins, [8]);
  if (kZeroed && threadIdx.x < 8) bins[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&bins[x[threadIdx.x]], 1);
  __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = bins[threadIdx.x];
}

__global__ void past_global(float* y, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= static_cast<unsigned>(n)) y[i] = 1;
}

__global__ void past_shared(float* y) {
  TW_SHARED(float, words, [kBlock]);
  words[threadIdx.x + 1] = 1;
  __syncthreads();
  y[threadIdx.x] = words[threadIdx.x];
}

__global__ void past_dynamic(float* y, int n) {
  TW_DYNAMIC_SHARED(float, words);
  for (int i = static_cast<int>(threadIdx.x); i <= n; i += kBlock) words[i] = 1;
  __syncthreads();
  y[threadIdx.x] = words[threadIdx.x];
}

__global__ void misaligned(const float* x, float4* y) {
  y[threadIdx.x] = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x + 1);
}

__global__ void host_pointer(const float* host, float* y) { y[threadIdx.x] = host[threadIdx.x]; }

// The address of a local variable, read by another thread.
__global__ void foreign_local(float* y) {
  TW_SHARED(float*, where, [kBlock]);
  volatile float local = static_cast<float>(threadIdx.x);
  where[threadIdx.x] = const_cast<float*>(&local);
  __syncthreads();
  y[threadIdx.x] = *where[(threadIdx.x + 1) % kBlock];
}

__global__ void split_barrier(float* y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = 1;
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void missed_barrier(float* y) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  y[threadIdx.x] = 1;
}

__global__ void shuffle_ended(float* y) {
  if (threadIdx.x >= 20) return;
  y[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, 1.0f, 1);
}

__global__ void shuffle_missed(float* y) {
  float value = 1;
  if (threadIdx.x < 20) value = __shfl_xor_sync(0xFFFFFFFFu, value, 1);
  __syncthreads();
  y[threadIdx.x] = value;
}

__global__ void shuffle_unnamed(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xFFFFu, 1.0f, 16);
}

__global__ void shuffle_outside(float* y) { y[threadIdx.x] = __shfl_sync(0xFFFF0000u, 1.0f, 16); }

// A row that is brought in by cp.async: waited for with one group too many under way, or never.
template <int kPending, bool kWait>
__global__ void row(const float* x, float* y) {
  TW_SHARED(float, words, [kBlock * 4]);
  ptx::copy_async(&words[4 * threadIdx.x], &x[4 * threadIdx.x]);
  ptx::commit_copies();
  if (kWait) ptx::wait_for_copies<kPending>();
  for (int i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = words[4 * threadIdx.x + i];
}

// A row brought in by cp.async that others read as soon as their own part has come.
template <bool kBarrier>
__global__ void row_of_others(const float* x, float* y) {
  TW_SHARED(float, words, [kBlock * 4]);
  ptx::copy_async(&words[4 * threadIdx.x], &x[4 * threadIdx.x]);
  ptx::commit_copies();
  ptx::wait_for_copies<0>();
  if (kBarrier) __syncthreads();
  y[threadIdx.x] = words[4 * ((threadIdx.x + 1) % kBlock)];
}

// Instructions of PTX name the memory that they reach, and reach no other.
__global__ void row_to_global(const float* x, float* y) {
  ptx::copy_async(&y[4 * threadIdx.x], &x[4 * threadIdx.x]);
  ptx::wait_for_copies<0>();
}

__global__ void row_of_shared(float* y) {
  TW_SHARED(float, words, [kBlock * 8]);
  for (unsigned i = 0; i < 4; ++i) words[4 * threadIdx.x + i] = 1;
  ptx::copy_async(&words[4 * (kBlock + threadIdx.x)], &words[4 * threadIdx.x]);
  ptx::commit_copies();
  ptx::wait_for_copies<0>();
  y[threadIdx.x] = words[4 * (kBlock + threadIdx.x)];
}

__global__ void shared_as_global(float* y) {
  TW_SHARED(uint4, words, [kBlock]);
  ptx::store_global(&words[threadIdx.x], make_uint4(1, 2, 3, 4));
  y[threadIdx.x] = static_cast<float>(words[threadIdx.x].x);
}

__global__ void local_as_global(float* y) {
  uint4 held = make_uint4(1, 2, 3, 4), found;
  ptx::load_global(found, &held);
  y[threadIdx.x] = static_cast<float>(found.x);
}

__global__ void matrices_of_global(float* y) {
  uint32_t found[4];
  ptx::load_matrices(found, y + 4 * threadIdx.x);
  y[threadIdx.x] = static_cast<float>(found[0]);
}

__global__ void too_much_shared(float* y) {
  TW_SHARED(float, words, [13000]);
  words[threadIdx.x] = 1;
  y[threadIdx.x] = words[threadIdx.x];
}

// With 20000 dynamic bytes: either alone would do.
__global__ void too_much_beside(float* y) {
  TW_SHARED(float, words, [8000]);
  TW_DYNAMIC_SHARED(float, more);
  words[threadIdx.x] = 1;
  more[threadIdx.x] = 1;
  y[threadIdx.x] = words[threadIdx.x] + more[threadIdx.x];
}

// A transposition by way of shared memory; a column of 32 words lies in one bank, of 33 in all.
template <int kWidth>
__global__ void transpose(const float* x, float* y) {
  TW_SHARED(float, tile, [32][kWidth]);
  tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
  __syncthreads();
  y[threadIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

// Each thread a row of its own, so that the threads of a warp read far apart.
__global__ void row_sums(const float* x, float* y) {
  float sum = 0;
  for (int i = 0; i < 32; ++i) sum += x[threadIdx.x * 32 + static_cast<unsigned>(i)];
  y[threadIdx.x] = sum;
}

}  // namespace tilework::cudasim::faulty
