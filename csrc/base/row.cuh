// A row of numbers, and the threads that go over it together: a warp or a block, 16 bytes a thread
// at once where the row's place and length allow it.
#pragma once

#include "base/elementwise.cuh"
#include "base/warp.cuh"

namespace tilework {

// f(Width<as many as 16 bytes have>) where packs of them fit, else f(Width<1>).
template <class T, class F>
__device__ void by_width(bool wide, F f) {
  if (wide) {
    f(Width<kPackOf<T>>{});
  } else {
    f(Width<1>{});
  }
}

// Elements that a thread holds of rows at most, where its team has them whole: a kernel of two rows
// holds half of each. A function of a double takes many registers itself.
template <class T>
inline constexpr int kHeld = sizeof(T) == 4 ? 32 : 8;

// By single elements none is held, since places take as many registers again: the row is read again
// from L1.
template <int Width, int Held>
inline constexpr int held_of = Width == 1 ? 0 : Held;

// The threads of a row: 32 are a warp of a block of kRowWarps, each with a row of its own; more are
// the block.
inline constexpr int kRowWarps = 4;

template <int Threads>
struct Team {
  static constexpr int kThreads = Threads;
  static constexpr bool kIsWarp = Threads == kWarpLanes;

  static __device__ int rank() { return static_cast<int>(threadIdx.x) % Threads; }
  static __device__ int64_t row() {
    if constexpr (kIsWarp) {
      return static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / kWarpLanes;
    } else {
      return blockIdx.x;
    }
  }

  // Each value joined over the team, the same in every thread; `none` changes nothing.
  template <class Join, class T, int N>
  static __device__ void join(T (&value)[N], T none, Join join = {}) {
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = over_warp(value[i], join);
    if constexpr (!kIsWarp) {
      constexpr int kWarps = Threads / kWarpLanes;
      TW_SHARED(T, partial, [N][kWarps]);
      const int lane = rank() % kWarpLanes;
      if (lane == 0) {
#pragma unroll
        for (int i = 0; i < N; ++i) partial[i][rank() / kWarpLanes] = value[i];
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < N; ++i) {
        value[i] = over_warp(lane < kWarps ? partial[i][lane] : none, join);
      }
      __syncthreads();  // the array is free for the next
    }
  }
  template <class T>
  static __device__ T sum(T value) {
    T one[1] = {value};
    join<Plus>(one, T{0});
    return one[0];
  }
};

// A row as a thread of its team has it: every Threads-th pack. Held elements of these stay in
// registers, which then have the whole row; with none each look at it reads memory.
template <class T, int Threads, int Width, int Held>
class Row {
 public:
  using Packed = Pack<T, Width>;

  __device__ Row(const T* from, int64_t length) : from_(from), length_(length) {
    if constexpr (Held > 0) {
      each_place([&](int k, int64_t at) { held_[k] = load_pack<Width>(from_ + at); });
    }
  }
  // From where to read from now on: each thread what it wrote there itself, or what it holds.
  __device__ void look_at(const T* from) { from_ = from; }
  // f(pack, at) of this thread's packs, which begin at `at` in the row. What f changes of a pack
  // stays where it is held.
  template <class F>
  __device__ void each(F f) {
    each_place([&](int k, int64_t at) {
      if constexpr (Held > 0) {
        f(held_[k], at);
      } else {
        Packed pack = load_pack<Width>(from_ + at);
        f(pack, at);
      }
    });
  }
  // f(pack, other's pack, at), of a row of the same length.
  template <class F>
  __device__ void each_with(Row& other, F f) {
    each_place([&](int k, int64_t at) {
      if constexpr (Held > 0) {
        f(held_[k], other.held_[k], at);
      } else {
        Packed pack = load_pack<Width>(from_ + at), others = load_pack<Width>(other.from_ + at);
        f(pack, others, at);
      }
    });
  }

 private:
  static constexpr int kPacks = Held > 0 ? Held / Width : 1;

  template <class F>
  __device__ void each_place(F f) const {
    const int begin = Team<Threads>::rank() * Width;
    if constexpr (Held > 0) {
      const int end = static_cast<int>(length_);  // places in 32 bits take half the registers
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        const int at = begin + k * Threads * Width;
        if (at < end) f(k, at);
      }
    } else {
      [[maybe_unused]] constexpr int kAhead = sizeof(T) == 4 ? 2 : 1;
#pragma unroll kAhead
      for (int64_t at = begin; at < length_; at += Threads * Width) f(0, at);
    }
  }

  const T* from_;
  int64_t length_;
  Packed held_[kPacks];
};

// f(row, Width) for the row of this thread, by packs where they fit: there are `rows` rows
// of `length`, which begin at 16 bytes where `aligned`.
template <class T, int Threads, class F>
__device__ void with_row(int64_t rows, int64_t length, bool aligned, F f) {
  const int64_t row = Team<Threads>::row();
  if (row >= rows) return;
  by_width<T>(aligned && length % kPackOf<T> == 0, [&](auto width) { f(row, width); });
}

// A sum in as many strands as a pack has elements, joined in pairs.
template <class T, int Width>
__device__ T sum_of(const T (&strand)[Width]) {
  if constexpr (Width == 4) {
    return (strand[0] + strand[1]) + (strand[2] + strand[3]);
  } else if constexpr (Width == 2) {
    return strand[0] + strand[1];
  } else {
    return strand[0];
  }
}

}  // namespace tilework
