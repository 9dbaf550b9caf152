// Groups of rows: the sum of those that an index sends to one place, or the largest of them;
// embeddings' gradients and segments.
//
// The list comes in the order of its places (grouping.cuh), so that a group is a run of neighbours,
// and the threads at its head take it, a row after another. Groups of more than 32 rows would keep
// them long: their chains of 32 are taken before, by row_chains (row_largest_chains), each by
// threads of its own, and row_sums (row_largest) takes the chains. Nothing is atomic: which group,
// and which chain, depends on the list alone.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// row_*               62, 64, 62  0       0        256      4, 4, 4       LDG.128 STG.128
#pragma once

#include "kernels/embedding/rows.cuh"

namespace tilework::embedding_cuda {

using namespace rows_cuda;

// A list in the order of its places: `place` and `member` of m, as grouping.cuh gives them, the
// last ones of the place `places`: in no group. Member i is row row_of[i] of x (null: i itself),
// and is multiplied by factor[i] (null: 1).
template <class T>
struct Listed {
  const uint32_t *place, *member;
  int64_t m, places;
  const T* x;
  int64_t cols;
  const int64_t* row_of;
  const T* factor;

  // Whether element p of the list is there, and of this place.
  __device__ bool is_of(int64_t p, uint32_t which) const { return p < m && place[p] == which; }
  // How many from p on are of this place, `most` at most.
  __device__ int count_from(int64_t p, uint32_t which, int most) const {
    int count = 0;
    while (count < most && is_of(p + count, which)) ++count;
    return count;
  }
  __device__ int64_t row(int64_t p) const {
    const int64_t i = member[p];
    return row_of == nullptr ? i : row_of[i];
  }
  template <int N>
  __device__ void meet(Largest<T, N>& found, int64_t p, int64_t column) const {
    const int64_t i = row(p);
    found.meet(Columns<T, N>::load(x + i * cols + column), i);
  }
  // `count` rows from element p on, added one after another.
  template <int N>
  __device__ void add(Columns<T, N>& sum, int64_t p, int count, int64_t column) const {
    const T* from = x + column;
#pragma unroll 2
    for (int k = 0; k < count; ++k) {
      const Wide<T> by = factor == nullptr ? 1 : wide(factor[member[p + k]]);
      sum.add(Columns<T, N>::load(from + row(p + k) * cols), by);
    }
  }
};

// What a group's sum begins with.
template <int N, class T>
__device__ Columns<T, N> beginning(const T* before, int64_t at) {
  return before == nullptr ? Columns<T, N>::zeros() : Columns<T, N>::load(before + at);
}

// The full chain that begins among the 32 elements of the list from 32 b on, of a group that goes
// on beyond them: there is one such at most. -1 where there is none.
template <class T>
__device__ int64_t chain_of(const Listed<T>& list, int64_t b) {
  const int64_t begin = b * kChain, last = begin + kChain - 1;
  if (last >= list.m) return -1;
  const uint32_t which = list.place[last];
  if (which >= list.places) return -1;
  if (!list.is_of(last + 1, which) && (begin == 0 || list.place[begin - 1] != which)) return -1;
  int64_t head = 0, high = last;  // the first of its group
  while (head < high) {
    const int64_t middle = (head + high) / 2;
    if (list.place[middle] < which) {
      head = middle + 1;
    } else {
      high = middle;
    }
  }
  const int64_t chain = head < begin ? head + (begin - head + kChain - 1) / kChain * kChain : head;
  return list.is_of(chain + kChain - 1, which) ? chain : -1;
}

// partial[b] = the sum of that chain; a group's first one begins with `before`.
template <class T>
__device__ void sum_chains(Wide<T>* partial, const Listed<T>& list, const T* before, int64_t shift,
                           bool whole) {
  const int64_t b = group_of_thread(shift);
  if (b * kChain >= list.m) return;
  const int64_t chain = chain_of(list, b);
  if (chain < 0) return;
  const uint32_t which = list.place[chain];
  const bool first = chain == 0 || list.place[chain - 1] != which;
  for_each_columns<T>(list.cols, shift, whole, [&](auto width, int64_t column) {
    constexpr int N = decltype(width)::value;
    auto sum = beginning<N>(first ? before : nullptr, which * list.cols + column);
    list.template add<N>(sum, chain, kChain, column);
    store_pack(partial + b * list.cols + column, sum.of);
  });
}

// y's rows of the groups that begin at this thread's element of the list; the others stay.
template <class T>
__device__ void sum_groups(T* y, const Listed<T>& list, const Wide<T>* partial, const T* before,
                           bool mean, int64_t shift, bool whole) {
  const int64_t head = group_of_thread(shift);
  if (head >= list.m) return;
  const uint32_t which = list.place[head];
  if (which >= list.places || (head > 0 && list.place[head - 1] == which)) return;
  for_each_columns<T>(list.cols, shift, whole, [&](auto width, int64_t column) {
    constexpr int N = decltype(width)::value;
    const bool chains = list.is_of(head + kChain, which);
    auto total = ChainSum<T, N>::zeros();
    int64_t count = 0;
    for (; chains && list.is_of(head + count + kChain - 1, which); count += kChain) {
      total.add(load_pack<N>(partial + (head + count) / kChain * list.cols + column));
    }
    auto sum = beginning<N>(chains ? nullptr : before, which * list.cols + column);
    const int rest = list.count_from(head + count, which, kChain);
    list.template add<N>(sum, head + count, rest, column);
    count += rest;
    if (chains) {
      total.add(sum.of);
      sum = total.rounded();
    }
    if (mean) sum.divide(count);
    sum.store(y + which * list.cols + column);
  });
}

// The largest of each chain, as sum_chains has their sums.
template <class T>
__device__ void largest_of_chains(T* best, int64_t* from, const Listed<T>& list, int64_t shift,
                                  bool whole) {
  const int64_t b = group_of_thread(shift);
  if (b * kChain >= list.m) return;
  const int64_t chain = chain_of(list, b);
  if (chain < 0) return;
  for_each_columns<T>(list.cols, shift, whole, [&](auto width, int64_t column) {
    constexpr int N = decltype(width)::value;
    auto found = Largest<T, N>::none();
    for (int k = 0; k < kChain; ++k) list.meet(found, chain + k, column);
    const int64_t to = b * list.cols + column;
    found.store(best + to, from + to);
  });
}

template <class T>
__device__ void largest_of_groups(T* y, int64_t* from, const Listed<T>& list, const T* best,
                                  const int64_t* best_from, int64_t shift, bool whole) {
  const int64_t head = group_of_thread(shift);
  if (head >= list.m) return;
  const uint32_t which = list.place[head];
  if (which >= list.places || (head > 0 && list.place[head - 1] == which)) return;
  for_each_columns<T>(list.cols, shift, whole, [&](auto width, int64_t column) {
    constexpr int N = decltype(width)::value;
    auto found = Largest<T, N>::none();
    int64_t p = head;
    const bool chains = list.is_of(head + kChain, which);
    for (; chains && list.is_of(p + kChain - 1, which); p += kChain) {
      const int64_t at = p / kChain * list.cols + column;
      found.meet(Columns<T, N>::load(best + at), best_from + at);
    }
    for (; list.is_of(p, which); ++p) list.meet(found, p, column);
    const int64_t to = which * list.cols + column;
    found.store(y + to, from + to);
  });
}

// Blocks along z have one of `outer` each: x (outer, m, cols), y and before (outer, places, cols).
#define TW_ROWS(type, name)                                                                        \
  TW_KERNEL(kThreads, row_chains_##name, Wide<type>* partial, const uint32_t* place,               \
            const uint32_t* member, int64_t m, int64_t places, const type* x, int64_t cols,        \
            const int64_t* row_of, const type* factor, const type* before, int64_t shift,          \
            int64_t whole) {                                                                       \
    const int64_t o = blockIdx.z, chains = m / kChain;                                             \
    const Listed<type> list{place, member, m, places, x + o * m * cols, cols, row_of, factor};     \
    const type* of_o = before == nullptr ? nullptr : before + o * places * cols;                   \
    sum_chains(partial + o * chains * cols, list, of_o, shift, whole != 0);                        \
  }                                                                                                \
  TW_KERNEL(kThreads, row_sums_##name, type* y, const uint32_t* place, const uint32_t* member,     \
            int64_t m, int64_t places, const type* x, int64_t cols, const int64_t* row_of,         \
            const type* factor, const Wide<type>* partial, const type* before, int64_t mean,       \
            int64_t shift, int64_t whole) {                                                        \
    const int64_t o = blockIdx.z, chains = m / kChain, to = o * places * cols;                     \
    const Listed<type> list{place, member, m, places, x + o * m * cols, cols, row_of, factor};     \
    sum_groups(y + to, list, partial + o * chains * cols,                                          \
               before == nullptr ? nullptr : before + to, mean != 0, shift, whole != 0);           \
  }                                                                                                \
  TW_KERNEL(kThreads, row_largest_chains_##name, type* best, int64_t* from, const uint32_t* place, \
            const uint32_t* member, int64_t m, int64_t places, const type* x, int64_t cols,        \
            int64_t shift, int64_t whole) {                                                        \
    const Listed<type> list{place, member, m, places, x, cols, nullptr, nullptr};                  \
    largest_of_chains(best, from, list, shift, whole != 0);                                        \
  }                                                                                                \
  TW_KERNEL(kThreads, row_largest_##name, type* y, int64_t* from, const uint32_t* place,           \
            const uint32_t* member, int64_t m, int64_t places, const type* x, int64_t cols,        \
            const type* best, const int64_t* best_from, int64_t shift, int64_t whole) {            \
    const Listed<type> list{place, member, m, places, x, cols, nullptr, nullptr};                  \
    largest_of_groups(y, from, list, best, best_from, shift, whole != 0);                          \
  }
TW_ROWS(float, float)
TW_ROWS(double, double)
TW_ROWS(__nv_bfloat16, bfloat16)
#undef TW_ROWS

}  // namespace tilework::embedding_cuda
