// How a block goes over a dense array (outer, length, inner): Columns are for what goes along its
// length, Planes for what goes along the others.
#pragma once

#include "base/row.cuh"

namespace tilework {

inline constexpr int kColumnThreads = 256;

// A block has 2^bits packs of columns beside each other, kColumnThreads >> bits threads for each,
// and `part` of their `length` rows, of which there are `parts` such.
template <class T, int W>
struct Columns {
  int wide, deep, thread, row;
  int64_t column, inner;  // of this thread's pack
  int64_t at;             // which part of which outer this is
  int64_t begin, end;     // the part's rows
  int64_t first;          // where row 0 of this column lies

  __device__ Columns(int64_t length, int64_t inner_, int64_t bits, int64_t part, int64_t parts)
      : wide(1 << static_cast<int>(bits)),
        deep(kColumnThreads >> static_cast<int>(bits)),
        thread(static_cast<int>(threadIdx.x)),
        row(thread >> static_cast<int>(bits)),
        inner(inner_) {
    // In 32 bits, as the grid's size: a division in 64 is a function.
    const auto tiles = static_cast<uint32_t>((inner + wide * W - 1) / (wide * W));
    const uint32_t block = blockIdx.x / tiles, of_column = static_cast<uint32_t>(parts);
    column = (static_cast<int64_t>(blockIdx.x % tiles) * wide + (thread & (wide - 1))) * W;
    at = block;
    begin = block % of_column * part;
    end = length - begin < part ? length : begin + part;
    first = block / of_column * length * inner + column;
  }
  __device__ bool within() const { return column < inner; }
  // f(where the pack lies, its row) for this thread's.
  template <class F>
  __device__ void each(F f) const {
    if (!within()) return;
#pragma unroll 2
    for (int64_t r = begin + row; r < end; r += deep) f(first + r * inner, r);
  }
  // The values of the threads of a column joined by add(value, other), the same in each.
  template <class Value, class Add>
  __device__ Value joined(Value value, Value (&partial)[kColumnThreads], Add add) const {
    for (int half = deep / 2; half > 0; half /= 2) {
      partial[thread] = value;
      __syncthreads();
      if (row < half) add(value, partial[thread + half * wide]);
      __syncthreads();
    }
    if (row == 0) partial[thread] = value;
    __syncthreads();
    value = partial[thread & (wide - 1)];
    __syncthreads();  // the array is free for the next
    return value;
  }
};

// For joined(): packs, or several beside each other.
template <class T, int W, int N>
struct Packs {
  Pack<T, W> of[N];
};
struct AddPacks {
  template <class T, int W, int N>
  __device__ void operator()(Packs<T, W, N>& value, const Packs<T, W, N>& other) const {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 0; i < W; ++i) value.of[n].at[i] += other.of[n].at[i];
    }
  }
};

// A block's part of one channel: rows of `outer`, and of each a piece of its `inner` neighbours.
// 2^bits threads lie along inner.
template <class T, int W>
struct Planes {
  int64_t channel, part, channels, inner;
  int64_t begin, end, from, to;  // of outer, of inner
  int64_t stride, first;         // elements from one plane to the next; of the channel's first
  int wide, deep;

  __device__ Planes(int64_t outer, int64_t channels_, int64_t inner_, int64_t rows, int64_t piece,
                    int64_t bits)
      : channels(channels_),
        inner(inner_),
        stride(channels * inner_),
        wide(1 << static_cast<int>(bits)),
        deep(kColumnThreads >> static_cast<int>(bits)) {
    const auto pieces = static_cast<uint32_t>((inner + piece - 1) / piece);
    channel = blockIdx.x % static_cast<uint32_t>(channels);
    const uint32_t at = blockIdx.x / static_cast<uint32_t>(channels);
    part = at;
    begin = at / pieces * rows;
    end = outer - begin < rows ? outer : begin + rows;
    from = at % pieces * piece;
    to = inner - from < piece ? inner : from + piece;
    first = channel * inner;
  }
  __device__ int64_t count() const { return (end - begin) * (to - from); }
  __device__ int64_t parts() const { return gridDim.x / static_cast<uint32_t>(channels); }
  // f(where a pack lies, its row of outer)
  template <class F>
  __device__ void each(F f) const {
    [[maybe_unused]] constexpr int kAhead = sizeof(T) == 4 ? 2 : 1;
    const int thread = static_cast<int>(threadIdx.x);
    for (int64_t r = begin + thread / wide; r < end; r += deep) {
      const int64_t row = first + r * stride;
#pragma unroll kAhead
      for (int64_t i = from + thread % wide * W; i < to; i += wide * W) f(row + i, r);
    }
  }
};

}  // namespace tilework
