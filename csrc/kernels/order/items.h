// Rows put in order, as integers: a key of the element's bits, unsigned and ascending, and the
// element's index, which settles between equal keys and says where the element is.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/types.h"

namespace tilework {
namespace order {

// --- keys ---

// The bits of a float, so that unsigned order is its order: NaN last, -0 as 0.
template <class U, class F>
inline U float_key(F x) {
  constexpr U top = U(1) << (8 * sizeof(U) - 1);
  if (x != x) return ~U(0);
  const U bits = __builtin_bit_cast(U, x + F(0));
  return bits & top ? ~bits : bits | top;
}

inline uint32_t key_of(float x) { return float_key<uint32_t>(x); }
inline uint64_t key_of(double x) { return float_key<uint64_t>(x); }
// The upper half: the lower says nothing, and a pass over digits that are all alike is left out.
inline uint32_t key_of(bfloat16 x) { return float_key<uint32_t>(to_float(x)) >> 16; }
inline uint64_t key_of(int64_t x) { return static_cast<uint64_t>(x) ^ (uint64_t{1} << 63); }
inline uint32_t key_of(int32_t x) { return static_cast<uint32_t>(x) ^ (uint32_t{1} << 31); }
inline uint32_t key_of(uint32_t x) { return x; }
inline uint32_t key_of(uint8_t x) { return x; }

template <class T>
using Key = decltype(key_of(T()));

// --- items ---

// A short key above an index, as one number.
struct Packed {
  uint64_t bits;
  using KeyType = uint32_t;
  Packed() = default;
  Packed(uint32_t key, int64_t index)
      : bits(static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(index)) {}
  uint32_t key() const { return static_cast<uint32_t>(bits >> 32); }
  int64_t index() const { return static_cast<uint32_t>(bits); }
  friend bool operator<(Packed a, Packed b) { return a.bits < b.bits; }
};
// A long key, or an index that 32 bits cannot hold.
struct Wide {
  uint64_t bits;
  int64_t place;
  using KeyType = uint64_t;
  Wide() = default;
  Wide(uint64_t key, int64_t index) : bits(key), place(index) {}
  uint64_t key() const { return bits; }
  int64_t index() const { return place; }
  friend bool operator<(Wide a, Wide b) {
    return a.bits < b.bits || (a.bits == b.bits && a.place < b.place);
  }
};

// --- sorting ---

// By digits from the lowest, each pass keeping the order of the one before.
template <int kBits, class Item>
void sort_by_digits(Item* items, Item* spare, int64_t n) {
  using K = typename Item::KeyType;
  constexpr int kDigits = (8 * sizeof(K) + kBits - 1) / kBits, kValues = 1 << kBits;
  uint32_t counts[kDigits][kValues] = {};
  const auto digit = [](Item item, int d) {
    return static_cast<int>(item.key() >> (d * kBits)) & (kValues - 1);
  };
  for (int64_t i = 0; i < n; ++i)
    for (int d = 0; d < kDigits; ++d) ++counts[d][digit(items[i], d)];
  Item *from = items, *to = spare;
  for (int d = 0; d < kDigits; ++d) {
    if (counts[d][digit(from[0], d)] == static_cast<uint32_t>(n)) continue;  // all alike
    uint32_t next = 0;
    for (uint32_t& count : counts[d]) next += std::exchange(count, next);
    for (int64_t i = 0; i < n; ++i) to[counts[d][digit(from[i], d)]++] = from[i];
    std::swap(from, to);
  }
  if (from != items) std::memcpy(items, from, static_cast<size_t>(n) * sizeof(Item));
}

// spare: room for n more.
template <class Item>
void sort_items(Item* items, Item* spare, int64_t n) {
  // Short rows are not worth the counters; of long ones, wide digits save passes over memory.
  constexpr int64_t kShort = sizeof(Item) == 8 ? 64 : 192, kLong = 16384;
  if (n <= kShort || n > INT64_C(0xffffffff))
    std::sort(items, items + n);
  else if (n <= kLong)
    sort_by_digits<8>(items, spare, n);
  else
    sort_by_digits<11>(items, spare, n);
}

// --- the first few ---

// Elements of a row whose keys are made at once.
inline constexpr int64_t kBlock = 128;

inline int64_t candidates(int64_t n, int64_t k) { return std::min(2 * k, n) + kBlock; }

// The k first of n, in no order. room: for candidates(n, k) items. key(i, count, keys): of [i, i +
// count). Candidates gather until there is room for no more; then all but the k first are dropped,
// and what comes after the last of them is no candidate from then on: most elements are read and no
// more.
template <class Item, class Keys>
void first_of(int64_t n, int64_t k, Item* room, Keys key) {
  using K = typename Item::KeyType;
  const int64_t full = candidates(n, k);
  int64_t count = 0;
  K limit = 0;
  bool limited = false;
  K keys[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t step = std::min(kBlock, n - i);
    key(i, step, keys);
    if (limited) {
      K least = keys[0];
      for (int64_t j = 1; j < step; ++j) least = std::min(least, keys[j]);
      if (least >= limit) continue;
    }
    for (int64_t j = 0; j < step; ++j)
      if (!limited || keys[j] < limit) room[count++] = Item(keys[j], i + j);
    if (count + kBlock > full) {
      std::nth_element(room, room + (k - 1), room + count);
      count = k;
      limit = room[k - 1].key();
      limited = true;
    }
  }
  if (count > k) std::nth_element(room, room + (k - 1), room + count);
}

}  // namespace order
}  // namespace tilework
