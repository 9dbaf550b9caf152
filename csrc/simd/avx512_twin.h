// AVX-512's intrinsics in software, as far as the kernels use them: over AVX2 and FMA, lane for
// lane what the instructions give, and strict about the alignment that they ask for. For tests
// only (slow): with them the AVX-512 kernels run on a CPU that has none.
//
// The build includes this ahead of every file of such an ISA (isa.cmake). The functions bear the
// intrinsics' names, in the namespace of the ISA, where they hide the compiler's own; what is left
// of <immintrin.h> is as ever.
//
// Semantics: Intel's Intrinsics Guide, and for vdpbf16ps the SDM, volume 2.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#if !defined(TILEWORK_AVX512_TWIN)
#error "AVX-512 in software is for tests: it belongs in no shipped binary"
#endif
#define __AVX512F__ 1  // after <immintrin.h>, which would believe it

// Some compilers have those with an immediate operand as macros.
#undef _mm512_cmp_ps_mask
#undef _mm512_cmp_pd_mask
#undef _mm512_extractf32x8_ps
#undef _mm512_extractf64x4_pd
#undef _mm512_extracti64x4_epi64
#undef _mm512_insertf32x4
#undef _mm512_insertf32x8
#undef _mm512_insertf64x2
#undef _mm512_mask_shuffle_epi32
#undef _mm512_roundscale_ps
#undef _mm512_roundscale_pd
#undef _mm512_setr_epi32
#undef _mm512_setr_epi64
#undef _mm512_shuffle_epi32
#undef _mm512_slli_epi32
#undef _mm512_slli_epi64
#undef _mm512_srli_epi32
#undef _mm512_srli_epi64
#undef _mm512_ternarylogic_epi32
#undef _mm512_ternarylogic_epi64
#undef _mm_cmpeq_epi8_mask

#define TW_SOFT inline __attribute__((noinline))

namespace tilework::TW_ISA {

// --- registers by their lanes, and by their halves ---

using Words16 = uint16_t __attribute__((vector_size(64)));
using Words32 = uint32_t __attribute__((vector_size(64)));
using Words64 = uint64_t __attribute__((vector_size(64)));
using Signed32 = int32_t __attribute__((vector_size(64)));

template <class Part, int N>
struct PartsOf {
  Part part[N];
};
template <class Half, class Whole>
TW_SOFT PartsOf<Half, 2> halves(Whole a) {
  return __builtin_bit_cast(PartsOf<Half, 2>, a);
}
template <class Whole, class Half>
TW_SOFT Whole joined(Half low, Half high) {
  return __builtin_bit_cast(Whole, PartsOf<Half, 2>{{low, high}});
}

template <class Lanes>
TW_SOFT Lanes splat(decltype(Lanes{}[0]) x) {
  return Lanes{} + x;
}
// Whole lanes of ones where the mask's bit is set.
TW_SOFT Words16 lanes16(uint32_t mask) {
  Words16 lanes{};
  for (int i = 0; i < 32; ++i) lanes[i] = static_cast<uint16_t>(mask >> i & 1 ? 0xffff : 0);
  return lanes;
}
TW_SOFT Words32 lanes32(uint32_t mask) {
  const Words32 bit = {1u << 0,  1u << 1,  1u << 2,  1u << 3, 1u << 4,  1u << 5,
                       1u << 6,  1u << 7,  1u << 8,  1u << 9, 1u << 10, 1u << 11,
                       1u << 12, 1u << 13, 1u << 14, 1u << 15};
  return (Words32)(((Words32{} + mask) & bit) != 0);
}
TW_SOFT Words64 lanes64(uint64_t mask) {
  const Words64 bit = {1, 2, 4, 8, 16, 32, 64, 128};
  return (Words64)(((Words64{} + mask) & bit) != 0);
}
// The mask of the lanes' sign bits.
TW_SOFT __mmask16 signs32(Words32 lanes) {
  const auto h = halves<__m256>(lanes);
  return static_cast<__mmask16>(_mm256_movemask_ps(h.part[0]) | _mm256_movemask_ps(h.part[1]) << 8);
}
TW_SOFT __mmask8 signs64(Words64 lanes) {
  const auto h = halves<__m256d>(lanes);
  return static_cast<__mmask8>(_mm256_movemask_pd(h.part[0]) | _mm256_movemask_pd(h.part[1]) << 4);
}
template <class Words>
TW_SOFT Words chosen(Words where, Words a, Words b) {
  return (where & a) | (~where & b);
}

// What the instruction would fault on.
TW_SOFT void require_line(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
}

// --- what 256-bit registers do by halves ---

#define TW_ONE(op, R, H)                                              \
  TW_SOFT R _mm512_##op(R a) {                                        \
    const auto x = halves<H>(a);                                      \
    return joined<R>(_mm256_##op(x.part[0]), _mm256_##op(x.part[1])); \
  }
#define TW_TWO(op, R, H)                                                                    \
  TW_SOFT R _mm512_##op(R a, R b) {                                                         \
    const auto x = halves<H>(a), y = halves<H>(b);                                          \
    return joined<R>(_mm256_##op(x.part[0], y.part[0]), _mm256_##op(x.part[1], y.part[1])); \
  }
#define TW_THREE(op, R, H)                                           \
  TW_SOFT R _mm512_##op(R a, R b, R c) {                             \
    const auto x = halves<H>(a), y = halves<H>(b), z = halves<H>(c); \
    return joined<R>(_mm256_##op(x.part[0], y.part[0], z.part[0]),   \
                     _mm256_##op(x.part[1], y.part[1], z.part[1]));  \
  }

// S: the intrinsics' suffix; T: an element; R, H: registers of 512 and 256 bits; W: lanes of
// integers; K: the mask; N: the lanes; M: what maskload wants.
#define TW_FLOATING(S, T, R, H, W, K, N, lanes, signs)                                             \
  TW_TWO(add_##S, R, H)                                                                            \
  TW_TWO(sub_##S, R, H)                                                                            \
  TW_TWO(mul_##S, R, H)                                                                            \
  TW_TWO(div_##S, R, H)                                                                            \
  TW_TWO(min_##S, R, H)                                                                            \
  TW_TWO(max_##S, R, H)                                                                            \
  TW_TWO(xor_##S, R, H)                                                                            \
  TW_TWO(andnot_##S, R, H)                                                                         \
  TW_TWO(unpacklo_##S, R, H)                                                                       \
  TW_TWO(unpackhi_##S, R, H)                                                                       \
  TW_ONE(sqrt_##S, R, H)                                                                           \
  TW_THREE(fmadd_##S, R, H)                                                                        \
  TW_THREE(fnmadd_##S, R, H)                                                                       \
  TW_SOFT R _mm512_set1_##S(T x) { return joined<R>(_mm256_set1_##S(x), _mm256_set1_##S(x)); }     \
  TW_SOFT R _mm512_setzero_##S() { return R{}; }                                                   \
  TW_SOFT R _mm512_loadu_##S(const void* p) {                                                      \
    R a;                                                                                           \
    __builtin_memcpy(&a, p, sizeof a);                                                             \
    return a;                                                                                      \
  }                                                                                                \
  TW_SOFT R _mm512_load_##S(const void* p) {                                                       \
    require_line(p);                                                                               \
    return _mm512_loadu_##S(p);                                                                    \
  }                                                                                                \
  TW_SOFT void _mm512_storeu_##S(void* p, R a) { __builtin_memcpy(p, &a, sizeof a); }              \
  TW_SOFT void _mm512_stream_##S(void* p, R a) {                                                   \
    require_line(p);                                                                               \
    _mm512_storeu_##S(p, a);                                                                       \
  }                                                                                                \
  TW_SOFT R _mm512_maskz_loadu_##S(K mask, const void* p) {                                        \
    const auto where = halves<__m256i>(lanes(mask));                                               \
    const T* from = static_cast<const T*>(p);                                                      \
    return joined<R>(_mm256_maskload_##S(from, where.part[0]),                                     \
                     _mm256_maskload_##S(from + N / 2, where.part[1]));                            \
  }                                                                                                \
  TW_SOFT void _mm512_mask_storeu_##S(void* p, K mask, R a) {                                      \
    const auto where = halves<__m256i>(lanes(mask));                                               \
    const auto x = halves<H>(a);                                                                   \
    _mm256_maskstore_##S(static_cast<T*>(p), where.part[0], x.part[0]);                            \
    _mm256_maskstore_##S(static_cast<T*>(p) + N / 2, where.part[1], x.part[1]);                    \
  }                                                                                                \
  TW_SOFT R _mm512_mask_blend_##S(K mask, R a, R b) { return (R)chosen(lanes(mask), (W)b, (W)a); } \
  TW_SOFT K _mm512_cmp_##S##_mask(R a, R b, int how) {                                             \
    switch (how) {                                                                                 \
      case _CMP_LT_OQ:                                                                             \
        return signs((W)(a < b));                                                                  \
      case _CMP_LE_OQ:                                                                             \
        return signs((W)(a <= b));                                                                 \
      case _CMP_EQ_OQ:                                                                             \
        return signs((W)(a == b));                                                                 \
      case _CMP_NEQ_UQ:                                                                            \
        return signs((W)(a != b));                                                                 \
      case _CMP_UNORD_Q:                                                                           \
        return signs((W)(a != a) | (W)(b != b));                                                   \
      default:                                                                                     \
        __builtin_trap();                                                                          \
    }                                                                                              \
  }                                                                                                \
  TW_SOFT R _mm512_roundscale_##S(R a, int how) {                                                  \
    if (how != (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)) __builtin_trap();                  \
    constexpr int kHow = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;                            \
    const auto x = halves<H>(a);                                                                   \
    return joined<R>(_mm256_round_##S(x.part[0], kHow), _mm256_round_##S(x.part[1], kHow));        \
  }                                                                                                \
  /* x times 2 to the floor of n, rounded once. */                                                 \
  TW_SOFT R _mm512_scalef_##S(R x, R n) {                                                          \
    for (int i = 0; i < N; ++i) {                                                                  \
      const double limited = n[i] > 5000 ? 5000 : n[i] < -5000 ? -5000 : n[i];                     \
      if (n[i] != n[i])                                                                            \
        x[i] += n[i];                                                                              \
      else if (sizeof(T) == 4)                                                                     \
        x[i] = __builtin_ldexpf(static_cast<float>(x[i]),                                          \
                                static_cast<int>(__builtin_floor(limited)));                       \
      else                                                                                         \
        x[i] = static_cast<T>(__builtin_ldexp(x[i], static_cast<int>(__builtin_floor(limited))));  \
    }                                                                                              \
    return x;                                                                                      \
  }                                                                                                \
  TW_SOFT R _mm512_permutexvar_##S(__m512i lane, R a) {                                            \
    R out;                                                                                         \
    for (int i = 0; i < N; ++i) out[i] = a[((W)lane)[i] & (N - 1)];                                \
    return out;                                                                                    \
  }                                                                                                \
  TW_SOFT R _mm512_permutex2var_##S(R a, __m512i lane, R b) {                                      \
    R out;                                                                                         \
    for (int i = 0; i < N; ++i)                                                                    \
      out[i] = ((W)lane)[i] & N ? b[((W)lane)[i] & (N - 1)] : a[((W)lane)[i] & (N - 1)];           \
    return out;                                                                                    \
  }
TW_FLOATING(ps, float, __m512, __m256, Words32, __mmask16, 16, lanes32, signs32)
TW_FLOATING(pd, double, __m512d, __m256d, Words64, __mmask8, 8, lanes64, signs64)
#undef TW_FLOATING

#define TW_INTEGER(S, T, W)                                                               \
  TW_TWO(add_##S, __m512i, __m256i)                                                       \
  TW_TWO(sub_##S, __m512i, __m256i)                                                       \
  TW_SOFT __m512i _mm512_set1_##S(T x) {                                                  \
    return (__m512i)splat<W>(static_cast<decltype(W{}[0] + 0)>(x));                       \
  }                                                                                       \
  TW_SOFT __m512i _mm512_slli_##S(__m512i a, unsigned n) { return (__m512i)((W)a << n); } \
  TW_SOFT __m512i _mm512_srli_##S(__m512i a, unsigned n) { return (__m512i)((W)a >> n); } \
  /* Bit k of `table` is the answer where a, b and c are bits 2, 1 and 0 of k. */         \
  TW_SOFT __m512i _mm512_ternarylogic_##S(__m512i a, __m512i b, __m512i c, int table) {   \
    __m512i out{};                                                                        \
    for (int k = 0; k < 8; ++k)                                                           \
      if (table >> k & 1) out |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);  \
    return out;                                                                           \
  }
TW_INTEGER(epi32, int, Words32)
TW_INTEGER(epi64, long long, Words64)
#undef TW_INTEGER

TW_TWO(sub_epi16, __m512i, __m256i)
TW_TWO(min_epu16, __m512i, __m256i)
TW_TWO(max_epu16, __m512i, __m256i)
TW_TWO(mul_epu32, __m512i, __m256i)
TW_TWO(unpacklo_epi64, __m512i, __m256i)
TW_TWO(unpackhi_epi64, __m512i, __m256i)
#undef TW_ONE
#undef TW_TWO
#undef TW_THREE

// --- integers ---

TW_SOFT __m512i _mm512_setzero_si512() { return __m512i{}; }
TW_SOFT __m512i _mm512_set1_epi16(short x) {
  Words16 lanes;
  for (int i = 0; i < 32; ++i) lanes[i] = static_cast<uint16_t>(x);
  return (__m512i)lanes;
}
template <class... Ints>
TW_SOFT __m512i _mm512_setr_epi32(Ints... x) {
  return (__m512i)Signed32{x...};
}
template <class... Ints>
TW_SOFT __m512i _mm512_setr_epi64(Ints... x) {
  return __m512i{x...};
}
TW_SOFT __m512i _mm512_loadu_si512(const void* p) { return (__m512i)_mm512_loadu_ps(p); }
TW_SOFT __m512i _mm512_load_si512(const void* p) { return (__m512i)_mm512_load_ps(p); }
TW_SOFT void _mm512_storeu_si512(void* p, __m512i a) { _mm512_storeu_ps(p, (__m512)a); }
TW_SOFT void _mm512_store_si512(void* p, __m512i a) {
  require_line(p);
  _mm512_storeu_si512(p, a);
}
TW_SOFT __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
TW_SOFT __m512i _mm512_or_si512(__m512i a, __m512i b) { return a | b; }
TW_SOFT __m512i _mm512_xor_si512(__m512i a, __m512i b) { return a ^ b; }
TW_SOFT __m512i _mm512_mask_or_epi32(__m512i kept, __mmask16 mask, __m512i a, __m512i b) {
  return (__m512i)chosen(lanes32(mask), (Words32)(a | b), (Words32)kept);
}
TW_SOFT __m512i _mm512_mask_blend_epi16(__mmask32 mask, __m512i a, __m512i b) {
  return (__m512i)chosen(lanes16(mask), (Words16)b, (Words16)a);
}
// By a macro: what they take an enumerator for, argument-dependent lookup would seek among the
// compiler's own too.
#define _mm512_shuffle_epi32(a, order) shuffled(a, static_cast<int>(order))
#define _mm512_mask_shuffle_epi32(kept, mask, a, order) \
  shuffled_where(kept, mask, a, static_cast<int>(order))
TW_SOFT __m512i shuffled(__m512i a, int order) {
  Words32 out;
  for (int i = 0; i < 16; ++i) out[i] = ((Words32)a)[i / 4 * 4 + (order >> 2 * (i % 4) & 3)];
  return (__m512i)out;
}
TW_SOFT __m512i shuffled_where(__m512i kept, __mmask16 mask, __m512i a, int order) {
  return (__m512i)chosen(lanes32(mask), (Words32)shuffled(a, order), (Words32)kept);
}
TW_SOFT __mmask16 _mm512_test_epi32_mask(__m512i a, __m512i b) {
  return signs32((Words32)((Words32)(a & b) != 0));
}
TW_SOFT __mmask32 _mm512_test_epi16_mask(__m512i a, __m512i b) {
  __mmask32 mask = 0;
  for (int i = 0; i < 32; ++i) mask |= static_cast<__mmask32>(((Words16)(a & b))[i] != 0) << i;
  return mask;
}

// --- masked parts of memory ---

template <class Lane, class Register>
TW_SOFT Register load_where(uint32_t mask, const void* p) {
  constexpr int kLanes = sizeof(Register) / sizeof(Lane);
  Lane lane[kLanes] = {};
  for (int i = 0; i < kLanes; ++i)
    if (mask >> i & 1) lane[i] = static_cast<const Lane*>(p)[i];
  Register out;
  __builtin_memcpy(&out, lane, sizeof out);
  return out;
}
template <class Lane, class Register>
TW_SOFT void store_where(uint32_t mask, Register a, void* p) {
  constexpr int kLanes = sizeof(Register) / sizeof(Lane);
  Lane lane[kLanes];
  __builtin_memcpy(lane, &a, sizeof a);
  for (int i = 0; i < kLanes; ++i)
    if (mask >> i & 1) static_cast<Lane*>(p)[i] = lane[i];
}
TW_SOFT __m256i _mm256_maskz_loadu_epi16(__mmask16 mask, const void* p) {
  return load_where<uint16_t, __m256i>(mask, p);
}
TW_SOFT void _mm256_mask_storeu_epi16(void* p, __mmask16 mask, __m256i a) {
  store_where<uint16_t>(mask, a, p);
}
TW_SOFT __m128i _mm_maskz_loadu_epi8(__mmask16 mask, const void* p) {
  return load_where<uint8_t, __m128i>(mask, p);
}
TW_SOFT void _mm_mask_storeu_epi8(void* p, __mmask16 mask, __m128i a) {
  store_where<uint8_t>(mask, a, p);
}
TW_SOFT __mmask16 _mm_cmpeq_epi8_mask(__m128i a, __m128i b) {
  return static_cast<__mmask16>(_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)));
}

// --- one register as another ---

TW_SOFT __m512d _mm512_castps_pd(__m512 a) { return (__m512d)a; }
TW_SOFT __m512 _mm512_castpd_ps(__m512d a) { return (__m512)a; }
TW_SOFT __m512i _mm512_castps_si512(__m512 a) { return (__m512i)a; }
TW_SOFT __m512i _mm512_castpd_si512(__m512d a) { return (__m512i)a; }
TW_SOFT __m512 _mm512_castsi512_ps(__m512i a) { return (__m512)a; }
TW_SOFT __m512d _mm512_castsi512_pd(__m512i a) { return (__m512d)a; }
TW_SOFT __m256 _mm512_castps512_ps256(__m512 a) { return halves<__m256>(a).part[0]; }
TW_SOFT __m256d _mm512_castpd512_pd256(__m512d a) { return halves<__m256d>(a).part[0]; }
TW_SOFT __m256i _mm512_castsi512_si256(__m512i a) { return halves<__m256i>(a).part[0]; }
TW_SOFT __m256 _mm512_extractf32x8_ps(__m512 a, int i) { return halves<__m256>(a).part[i]; }
TW_SOFT __m256d _mm512_extractf64x4_pd(__m512d a, int i) { return halves<__m256d>(a).part[i]; }
TW_SOFT __m256i _mm512_extracti64x4_epi64(__m512i a, int i) { return halves<__m256i>(a).part[i]; }

TW_SOFT __m512 _mm512_castps256_ps512(__m256 a) { return joined<__m512>(a, __m256{}); }
TW_SOFT __m512 _mm512_insertf32x8(__m512 a, __m256 x, int i) {
  auto parts = halves<__m256>(a);
  parts.part[i] = x;
  return joined<__m512>(parts.part[0], parts.part[1]);
}
TW_SOFT __m512d _mm512_cvtps_pd(__m256 a) { return __builtin_convertvector(a, __m512d); }
TW_SOFT __m256 _mm512_cvtpd_ps(__m512d a) { return __builtin_convertvector(a, __m256); }

template <class Whole, class Quarter>
TW_SOFT Whole inserted(Whole a, Quarter x, int i) {
  auto quarters = __builtin_bit_cast(PartsOf<Quarter, 4>, a);
  quarters.part[i] = x;
  return __builtin_bit_cast(Whole, quarters);
}
TW_SOFT __m512 _mm512_insertf32x4(__m512 a, __m128 x, int i) { return inserted(a, x, i); }
TW_SOFT __m512d _mm512_insertf64x2(__m512d a, __m128d x, int i) { return inserted(a, x, i); }
TW_SOFT __m512 _mm512_castps128_ps512(__m128 x) { return inserted(__m512{}, x, 0); }
TW_SOFT __m512d _mm512_castpd128_pd512(__m128d x) { return inserted(__m512d{}, x, 0); }

TW_SOFT __m512 _mm512_cvtepi32_ps(__m512i a) {
  return (__m512) __builtin_convertvector((Signed32)a, __m512);
}
TW_SOFT __m512i _mm512_cvtepu16_epi32(__m256i a) {
  using Narrow = uint16_t __attribute__((vector_size(32)));
  return (__m512i) __builtin_convertvector((Narrow)a, Words32);
}
TW_SOFT __m256i _mm512_cvtepi32_epi16(__m512i a) {
  using Narrow = uint16_t __attribute__((vector_size(32)));
  return (__m256i) __builtin_convertvector((Words32)a, Narrow);
}
TW_SOFT __m128i _mm512_cvtepi32_epi8(__m512i a) {
  using Narrow = uint8_t __attribute__((vector_size(16)));
  return (__m128i) __builtin_convertvector((Words32)a, Narrow);
}
TW_SOFT __m128i _mm512_cvtepi64_epi8(__m512i a) {
  uint8_t lane[16] = {};
  for (int i = 0; i < 8; ++i) lane[i] = static_cast<uint8_t>(((Words64)a)[i]);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(lane));
}

// --- AVX512-BF16 ---

// Each sum takes the odd product, then the even one, each by an FMA that rounds to nearest even;
// denormals count as zero, going in and coming out.
TW_SOFT __m512 flushed(__m512 x) {
  const Words32 bits = (Words32)x;
  const Words32 normal = (Words32)((bits & 0x7f800000u) != 0);
  return (__m512)(bits & (normal | 0x80000000u));
}
TW_SOFT __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  const auto odd = [](Words32 x) { return flushed((__m512)(x & 0xffff0000u)); };
  const auto even = [](Words32 x) { return flushed((__m512)(x << 16)); };
  const Words32 x = (Words32)a, y = (Words32)b;
  sum = flushed(_mm512_fmadd_ps(odd(x), odd(y), flushed(sum)));
  return flushed(_mm512_fmadd_ps(even(x), even(y), sum));
}

}  // namespace tilework::TW_ISA

#undef TW_SOFT
