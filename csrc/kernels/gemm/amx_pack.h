// Splits float32 operands into bfloat16 slices and packs them into panels (amx_layout.h), from any
// strides.
//
// x = high + middle + low: each slice is what is left, rounded to bfloat16's 8 bits. The roundings
// leave 15 and then 7 bits at most, so three slices hold all 24 and the last needs no rounding.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/amx_layout.h"
#include "kernels/tile/pack.h"

namespace tilework::TW_ISA::split {

enum class Side { a, b };

// What packing sees of the values that pass: enough for their Profile. Words are bfloat16 without
// the sign; `least` holds the smallest less one, so that zero counts as the largest of all.
struct Watch {
  __m512i most, least, lost;

  static TW_INLINE Watch nothing() {
    return {_mm512_setzero_si512(), _mm512_set1_epi16(-1), _mm512_setzero_si512()};
  }
  TW_INLINE void see(__m512i words) {
    words = _mm512_and_si512(words, _mm512_set1_epi16(0x7fff));
    most = _mm512_max_epu16(most, words);
    least = _mm512_min_epu16(least, _mm512_sub_epi16(words, _mm512_set1_epi16(1)));
  }
  Profile profile(int filled) const {
    const __m512i inverse = _mm512_xor_si512(most, _mm512_set1_epi16(-1));
    const int low = smallest(least) + 1, high = 0xffff - smallest(inverse);
    const bool inexact = _mm512_test_epi32_mask(lost, _mm512_set1_epi32(0xffff)) != 0;
    return make_profile(low >> 7, high >> 7, inexact, filled);
  }

 private:
  static int smallest(__m512i words) {
    const __m256i half =
        _mm256_min_epu16(_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64(words, 1));
    const __m128i quarter =
        _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return _mm_extract_epi16(_mm_minpos_epu16(quarter), 0);
  }
};

// The upper halves of two vectors, cell by cell: a's in the low half of each cell, b's in the high.
TW_INLINE __m512i upper_halves(__m512 a, __m512 b) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(_mm512_castps_si512(a), 16),
                                 _mm512_castps_si512(b));
}

// Adding half a unit of bfloat16 rounds the upper half to nearest, ties away from zero: on the
// magnitude, whatever the sign. (A NaN may carry into the sign; Watch sees it by other ways.)
TW_INLINE __m512 add_half_unit(__m512 x) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000)));
}
TW_INLINE __m512 rounded(__m512 x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(add_half_unit(x)),
                                              _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

// Splits 16 pairs (a, b) into one line of each slice, `slice_words` apart.
template <int S>
TW_INLINE void split_line(__m512 a, __m512 b, uint16_t* out, Watch& watch,
                          int64_t slice_words = kSliceWords) {
  if constexpr (S == 1) {
    watch.see(upper_halves(a, b));
    _mm512_store_si512(out, upper_halves(add_half_unit(a), add_half_unit(b)));
  } else {
    const __m512 high_a = rounded(a), high_b = rounded(b);
    const __m512i high = upper_halves(high_a, high_b);
    _mm512_store_si512(out, high);
    const __m512 rest_a = _mm512_sub_ps(a, high_a), rest_b = _mm512_sub_ps(b, high_b);
    if constexpr (S == 2) {
      watch.see(upper_halves(a, b));
      _mm512_store_si512(out + slice_words,
                         upper_halves(add_half_unit(rest_a), add_half_unit(rest_b)));
    } else {
      const __m512 middle_a = rounded(rest_a), middle_b = rounded(rest_b);
      _mm512_store_si512(out + slice_words, upper_halves(middle_a, middle_b));
      const __m512 low_a = _mm512_sub_ps(rest_a, middle_a), low_b = _mm512_sub_ps(rest_b, middle_b);
      _mm512_store_si512(out + 2 * slice_words, upper_halves(low_a, low_b));
      // The low slice's lower half is zero where splitting was exact. Where it is not, the value is
      // tiny (its high slice may be zero, unseen by the next line) or a NaN.
      watch.lost = _mm512_ternarylogic_epi32(watch.lost, _mm512_castps_si512(low_a),
                                             _mm512_castps_si512(low_b), 0xfe);
      watch.see(high);
    }
  }
}

// Packs one k-step of one panel from 32 lines of 32 adjacent floats: rows of A, or rows of B.
template <int S, Side side>
TW_INLINE void split_step(const float* x, int64_t line_stride, uint16_t* out, Watch& watch) {
  if constexpr (side == Side::a) {
    for (int i = 0; i < kPanel; ++i, x += line_stride)
      split_line<S>(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16), out + i * 32, watch);
  } else {
    for (int j = 0; j < 16; ++j, x += line_stride) {
      const float* y = x + 16 * line_stride;
      split_line<S>(_mm512_loadu_ps(x), _mm512_loadu_ps(y), out + j * 32, watch);
      split_line<S>(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(y + 16), out + kTileWords + j * 32,
                    watch);
    }
  }
}

// y[j][i] = x[i][j], 32 x 32, from rows x_row apart to rows of 32.
inline void transpose_step(const float* x, int64_t x_row, float* y) {
  for (int i = 0; i < 32; i += 16)
    for_each_column(16, 32, x + i * x_row, x_row,
                    [&](int64_t j, Vec<float> column) { column.store(y + j * 32 + i); });
}

// One k-step of one panel where sweeping does not serve: at the ends of K and of the items, where
// missing values are zeros; where k runs the other way in memory; and for strides of any kind.
template <int S, Side side>
__attribute__((noinline)) void pack_step(const PanelSource<float>& in, uint16_t* out,
                                         Watch& watch) {
  alignas(64) float whole[32 * 32], turned[32 * 32];
  const bool along_k = in.x.col == 1;
  const float* x = in.x.data;
  int64_t line_stride = along_k ? in.x.row : in.x.col;
  const int lines = static_cast<int>(along_k ? in.items : in.k);
  const int length = static_cast<int>(along_k ? in.k : in.items);
  const int64_t within = along_k ? in.x.col : in.x.row;
  if (lines < 32 || length < 32 || within != 1) {
    for (int i = 0; i < 32; ++i) {
      float* row = whole + i * 32;
      Vec<float>::zero().store(row);
      Vec<float>::zero().store(row + 16);
      if (i < lines && within == 1) {
        Vec<float>::load_partial(x + i * line_stride, length < 16 ? length : 16).store(row);
        if (length > 16)
          Vec<float>::load_partial(x + i * line_stride + 16, length - 16).store(row + 16);
      } else if (i < lines) {
        for (int j = 0; j < length; ++j) row[j] = x[i * line_stride + j * within];
      }
    }
    x = whole;
    line_stride = 32;
  }
  if (along_k != (side == Side::a)) {
    transpose_step(x, line_stride, turned);
    x = turned;
    line_stride = 32;
  }
  Watch local = watch;  // in registers: stores to `out` might alias the other
  split_step<S, side>(x, line_stride, out, local);
  watch = local;
}

TW_INLINE void fetch(const float* x, int64_t line_stride, int lines) {
  for (int i = 0; i < lines; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(x + i * line_stride), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(x + i * line_stride + 16), _MM_HINT_T0);
  }
}

// Whole steps of whole panels of A whose rows lie along memory, four rows at a time.
template <int S>
void sweep_a(const PanelSource<float>& in, const Panels<S>& out, int64_t block, int64_t panels,
             int64_t steps, Watch* watches) {
  constexpr int kRows = 4;
  for (int64_t p = 0; p < panels; ++p) {
    Watch watch = watches[p];
    for (int i = 0; i < kPanel; i += kRows) {
      const float* x = in.x.data + (p * kPanel + i) * in.x.row;
      uint16_t* line = out.steps(p, block) + i * 32;
      for (int64_t s = 0; s < steps; ++s, x += kStep, line += out.kStepWords) {
        fetch(x + kRows * in.x.row, in.x.row, kRows);
        for (int r = 0; r < kRows; ++r) {
          const float* row = x + r * in.x.row;
          split_line<S>(_mm512_loadu_ps(row), _mm512_loadu_ps(row + 16), line + r * 32, watch);
        }
      }
    }
    watches[p] = watch;
  }
}

// Whole steps of whole panels of B whose rows lie along memory. Rows are read to their end, across
// all panels: reads run on, and are asked for 1 KB ahead, where the hardware's own prefetching
// stops at each page and starts slowly. Pairs of rows go together, so that a Watch is fetched and
// put back less often.
template <int S>
void sweep_b(const PanelSource<float>& in, const Panels<S>& out, int64_t block, int64_t panels,
             int64_t steps, Watch* watches) {
  constexpr int64_t kAhead = 256;
  constexpr int kPairs = 4;
  const int64_t row = in.x.col, partner = 16 * in.x.col;
  for (int64_t s = 0; s < steps; ++s)
    for (int j = 0; j < 16; j += kPairs) {
      const float* x = in.x.data + (s * kStep + j) * row;
      uint16_t* line = out.steps(0, block) + s * out.kStepWords + j * 32;
      for (int64_t p = 0; p < panels; ++p, x += kPanel, line += out.stride / 2) {
        fetch(x + kAhead, row, kPairs);
        fetch(x + partner + kAhead, row, kPairs);
        Watch watch = watches[p];
        for (int pair = 0; pair < kPairs; ++pair)
          for (int half = 0; half < 2; ++half) {
            const float* at = x + pair * row + half * 16;
            split_line<S>(_mm512_loadu_ps(at), _mm512_loadu_ps(at + partner),
                          line + half * kTileWords + pair * 32, watch);
          }
        watches[p] = watch;
      }
    }
}

// The share of values that are not zero among the `values` of a packed panel, by every eighth line
// of its high slice, staggered so that each row and column of the panel has its turn.
template <int S>
int share_filled(const uint16_t* panel, int64_t steps, int64_t values) {
  int64_t seen = 0;
  for (int64_t s = 0; s < steps; ++s, panel += Panels<S>::kStepWords)
    for (int64_t line = s * 5 % 8; line < kPanel; line += 8) {
      const __m512i words = _mm512_load_si512(panel + line * 32);
      seen += __builtin_popcount(_mm512_test_epi16_mask(words, _mm512_set1_epi16(0x7fff)));
    }
  return static_cast<int>(least(seen * 8 * Profile::kWhole / values, Profile::kWhole));
}

// Panels that pack_block takes at once: their Watches stay in L1 beside the rows being read.
inline constexpr int64_t kPanelsMost = 64;

// Packs `in`, K block `block` of at most kPanelsMost panels, where `out` has it.
template <int S, Side side>
void pack_block(const PanelSource<float>& in, const Panels<S>& out, int64_t block) {
  const int64_t panels = ceil_div(in.items, kPanel), steps = ceil_div(in.k, kStep);
  Watch watches[kPanelsMost];
  for (int64_t p = 0; p < panels; ++p) watches[p] = Watch::nothing();

  int64_t swept_panels = 0, swept_steps = 0;
  if ((side == Side::a ? in.x.col : in.x.row) == 1) {
    swept_panels = in.items / kPanel;
    swept_steps = in.k / kStep;
    if constexpr (side == Side::a)
      sweep_a<S>(in, out, block, swept_panels, swept_steps, watches);
    else
      sweep_b<S>(in, out, block, swept_panels, swept_steps, watches);
  }

  const auto pack_one = [&](int64_t p, int64_t s) {
    if (p < swept_panels && s < swept_steps) return;
    const PanelSource<float> step = in.part(p * kPanel, least(kPanel, in.items - p * kPanel),
                                            s * kStep, least(kStep, in.k - s * kStep));
    // What this loop comes to next: four steps on along K's own memory, else the next step's rows.
    if (in.x.col == 1)
      fetch(step.x.data + 4 * kStep, in.x.row, static_cast<int>(step.items));
    else if (in.x.row == 1)
      fetch(step.x.data + kStep * in.x.col, in.x.col, static_cast<int>(step.k));
    pack_step<S, side>(step, out.steps(p, block) + s * out.kStepWords, watches[p]);
  };
  if (in.x.col == 1)
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t s = 0; s < steps; ++s) pack_one(p, s);
  else
    for (int64_t s = 0; s < steps; ++s)
      for (int64_t p = 0; p < panels; ++p) pack_one(p, s);

  for (int64_t p = 0; p < panels; ++p)
    out.profile(p, block) = watches[p].profile(
        share_filled<S>(out.steps(p, block), steps, least(kPanel, in.items - p * kPanel) * in.k));
}

}  // namespace tilework::TW_ISA::split
