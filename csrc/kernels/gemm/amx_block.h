// The inner product: 32 x 32 of C in four tiles, over one K block, while the vector unit finishes
// the block before it and the load unit fetches what comes next: each tile product takes 16 cycles,
// in which the core's other units are free.
#pragma once

#include "kernels/gemm/amx_layout.h"
#include "kernels/tile/epilogue.h"
#include "simd/tiles.h"

namespace tilework::TW_ISA::split {

// A block whose products are in scratch (32 rows of 32) and wait to be put into C.
struct Pending {
  const float* sums;
  float* c;
  int64_t c_row;
  int rows = 0;                   // none: nothing waits
  __mmask16 left, right;          // which columns of each half there are
  __mmask16 add_left, add_right;  // which of them are added to what C holds

  static TW_INLINE Pending of(const float* sums, float* c, int64_t c_row, int64_t rows,
                              int64_t cols, bool add) {
    const auto first = [](int64_t n) { return static_cast<__mmask16>((1u << n) - 1); };
    const __mmask16 left = first(least(cols, 16)), right = first(cols > 16 ? cols - 16 : 0);
    return {sums,
            c,
            c_row,
            static_cast<int>(rows),
            left,
            right,
            add ? left : __mmask16{0},
            add ? right : __mmask16{0}};
  }
  TW_INLINE void finish_row() {
    const __m512 l = _mm512_add_ps(_mm512_load_ps(sums), _mm512_maskz_loadu_ps(add_left, c));
    const __m512 r =
        _mm512_add_ps(_mm512_load_ps(sums + 16), _mm512_maskz_loadu_ps(add_right, c + 16));
    _mm512_mask_storeu_ps(c, left, l);
    _mm512_mask_storeu_ps(c + 16, right, r);
    sums += kPanel;
    c += c_row;
    --rows;
  }
};

// What the vector and load units do while tile products run.
struct Meanwhile {
  Pending pending;           // a block to finish
  const float* next_c;       // the block that comes next, whose lines are fetched,
  int64_t next_c_row;        // a row of 32 after another
  const char* next_b;        // the panel of B that comes next, fetched into L2,
  ptrdiff_t next_b_advance;  // a line after another; 0 where none is left to fetch
};

// Which products of slices one sweep over the k-steps sums, small ones first, so that they meet
// small sums. Slices: 0 high, 1 middle, 2 low.
enum class Sweep { six, five_small, three, high };

constexpr int slices_of(Sweep sweep) {
  return sweep == Sweep::high ? 1 : sweep == Sweep::three ? 2 : 3;
}
constexpr int products_of(Sweep sweep) {  // of tiles, in a k-step
  return 4 * (sweep == Sweep::six          ? 6
              : sweep == Sweep::five_small ? 5
              : sweep == Sweep::three      ? 3
                                           : 1);
}

// The k-step at hand of two packed panels, and the line of the next that is to be asked for: A's,
// since a block of A comes from L2 for each panel of B.
template <int S>
struct PanelSteps {
  const uint16_t *a, *b;

  TW_INLINE const uint16_t* a_slice(int slice) const { return a + slice * kSliceWords; }
  TW_INLINE const uint16_t* a_lower(int slice) const { return a_slice(slice) + kTileWords; }
  TW_INLINE ptrdiff_t a_row() const { return kLine; }
  TW_INLINE const uint16_t* b_slice(int slice) const { return b + slice * kSliceWords; }
  TW_INLINE const uint16_t* next_line(int line) const {
    return a + S * kSliceWords + line * kLineWords;
  }
  TW_INLINE void advance() {
    a += S * kSliceWords;
    b += S * kSliceWords;
  }
};

// One k-step of a sweep on the tiles: 0 to 3 are C's quarters, 4 and 5 the upper and lower half of
// A's slice, 6 and 7 the left and right half of B's. Each is loaded again right after its last use,
// as long before its next as can be. `between(i)` follows product i.
template <class Steps, class Between>
struct TileStep {
  const Steps& at;
  Between& between;
  int done = 0;

  TW_INLINE void load_upper(int slice) { tiles::load<4>(at.a_slice(slice), at.a_row()); }
  TW_INLINE void load_lower(int slice) { tiles::load<5>(at.a_lower(slice), at.a_row()); }
  TW_INLINE void load_left(int slice) { tiles::load<6>(at.b_slice(slice), kLine); }
  TW_INLINE void load_right(int slice) { tiles::load<7>(at.b_slice(slice) + kTileWords, kLine); }
  TW_INLINE void upper_left() { tiles::dot_bf16<0, 4, 6>(), between(done++); }
  TW_INLINE void upper_right() { tiles::dot_bf16<1, 4, 7>(), between(done++); }
  TW_INLINE void lower_left() { tiles::dot_bf16<2, 5, 6>(), between(done++); }
  TW_INLINE void lower_right() { tiles::dot_bf16<3, 5, 7>(), between(done++); }

  template <Sweep sweep>
  TW_INLINE void run() {
    if constexpr (sweep == Sweep::high) {
      load_upper(0), load_lower(0), load_left(0), load_right(0);
    } else if constexpr (sweep == Sweep::three) {
      load_upper(1), load_lower(1), load_left(0), load_right(0);
      upper_left(), upper_right(), load_upper(0);  // middle of A x high of B
      lower_left(), lower_right(), load_lower(0);
      upper_left(), lower_left(), load_left(1);     // high x high
      upper_right(), lower_right(), load_right(1);  // and, below, high x middle
    } else {
      load_upper(2), load_lower(2), load_left(0), load_right(0);
      upper_left(), upper_right(), load_upper(1);  // low x high
      lower_left(), lower_right(), load_lower(1);
      upper_left(), lower_left(), load_left(1);  // middle x high
      upper_right(), lower_right(), load_right(1);
      upper_left(), upper_right(), load_upper(0);  // middle x middle
      lower_left(), lower_right(), load_lower(0);
      upper_left(), lower_left(), load_left(2);  // high x middle
      upper_right(), lower_right(), load_right(2);
      if constexpr (sweep == Sweep::six) {
        upper_left(), lower_left(), load_left(0);  // high x low
        upper_right(), lower_right(), load_right(0);
      }
    }
    upper_left(), upper_right(), lower_left(), lower_right();  // high x high, or the last named
  }
};

// Adds a sweep over `count` k-steps to tiles 0 to 3; meanwhile, the rest, `b_lines` of the next
// panel of B after each product.
template <Sweep sweep, int b_lines, class Steps>
TW_INLINE void add_sweep(Steps steps, int64_t count, Meanwhile& meanwhile) {
  constexpr int products = products_of(sweep);
  constexpr int lines = (slices_of(sweep) * kSliceWords / kLineWords + products - 1) / products;
  Pending pending = meanwhile.pending;
  const float* next_c = meanwhile.next_c;
  const int64_t next_c_row = meanwhile.next_c_row;
  const char* next_b = meanwhile.next_b;
  const ptrdiff_t next_b_advance = meanwhile.next_b_advance;
  const int rows_a_step = kPanel / static_cast<int>(count) + 1;
  int rows_now = 0;  // the first step leaves the rows alone: the sums are on their way to memory
  int next_rows = kPanel;

  for (int64_t s = 0; s < count; ++s) {
    int fetch_now = next_rows < rows_a_step ? next_rows : rows_a_step;
    next_rows -= fetch_now;
    auto between = [&](int i) __attribute__((always_inline)) {
      for (int line = 0; line < lines; ++line)
        _mm_prefetch(reinterpret_cast<const char*>(steps.next_line(i * lines + line)), _MM_HINT_T0);
      for (int line = 0; line < b_lines; ++line) _mm_prefetch(next_b + line * kLine, _MM_HINT_T1);
      next_b += next_b_advance;
      if (i % 2 == 1) {
        if (rows_now > 0) {
          pending.finish_row();
          --rows_now;
        }
      } else if (fetch_now > 0) {
        _mm_prefetch(reinterpret_cast<const char*>(next_c), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(next_c + 16), _MM_HINT_T0);
        next_c += next_c_row;
        --fetch_now;
      }
    };
    TileStep<Steps, decltype(between)>{steps, between}.template run<sweep>();
    rows_now = pending.rows < rows_a_step ? pending.rows : rows_a_step;
    steps.advance();
  }
  while (pending.rows > 0) pending.finish_row();
  meanwhile.pending.rows = 0;
  meanwhile.next_b = next_b;
}

// Tiles 0 to 3 = the sum over the `count` k-steps of a K block, in S slices. With `apart`,
// the large products are summed after all of the small ones: a sweep more, for fewer roundings of
// large sums.
template <int S, int b_lines, bool apart, class Steps = PanelSteps<S>>
__attribute__((noinline)) void sum_products(Steps steps, int64_t count, Meanwhile& meanwhile) {
  constexpr Sweep first = S == 1   ? Sweep::high
                          : S == 2 ? Sweep::three
                          : apart  ? Sweep::five_small
                                   : Sweep::six;
  tiles::zero<0>(), tiles::zero<1>(), tiles::zero<2>(), tiles::zero<3>();
  add_sweep<first, b_lines>(steps, count, meanwhile);
  if constexpr (apart) add_sweep<Sweep::high, b_lines>(steps, count, meanwhile);
}

// The four tiles, side by side and one pair under the other.
TW_INLINE void store_sums(float* c, int64_t c_row) {
  const ptrdiff_t stride = c_row * static_cast<ptrdiff_t>(sizeof(float));
  tiles::store<0>(c, stride);
  tiles::store<1>(c + 16, stride);
  tiles::store<2>(c + 16 * c_row, stride);
  tiles::store<3>(c + 16 * c_row + 16, stride);
}

}  // namespace tilework::TW_ISA::split
