// The maths functions of device code, by one name for float and double; all as exact as CUDA has
// them, and none of the fast ones.
#pragma once

#include "base/cuda.cuh"

namespace tilework::maths {

#define TW_MATHS(name)                                           \
  __device__ inline float name(float x) { return ::name##f(x); } \
  __device__ inline double name(double x) { return ::name(x); }
TW_MATHS(exp)
TW_MATHS(log)
TW_MATHS(log1p)
TW_MATHS(sqrt)
TW_MATHS(tanh)
TW_MATHS(erf)
#undef TW_MATHS
__device__ inline float abs(float x) { return ::fabsf(x); }
__device__ inline double abs(double x) { return ::fabs(x); }
__device__ inline float pow(float x, float y) { return ::powf(x, y); }
__device__ inline double pow(double x, double y) { return ::pow(x, y); }
__device__ inline float fma(float x, float y, float z) { return ::fmaf(x, y, z); }
__device__ inline double fma(double x, double y, double z) { return ::fma(x, y, z); }

// NaN where either is.
template <class T>
__device__ T larger(T a, T b) {
  return a > b || a != a ? a : b;
}
template <class T>
__device__ T smaller(T a, T b) {
  return a < b || a != a ? a : b;
}

// Both from e^-|x|, which cannot overflow, each to its last digit: 1 - sigmoid(x) would lose the
// small one.
template <class T>
struct Sigmoids {
  T of_x, of_minus_x;
};
template <class T>
__device__ Sigmoids<T> sigmoids(T x) {
  const T e = exp(-abs(x)), more = T{1} / (T{1} + e), less = e * more;
  return x < T{0} ? Sigmoids<T>{less, more} : Sigmoids<T>{more, less};
}
template <class T>
__device__ T sigmoid(T x) {
  const T e = exp(-abs(x));
  return (x < T{0} ? e : T{1}) / (T{1} + e);
}

// x where its functions are at their limits already, so that none multiplies 0 by infinity. NaN
// stays NaN.
inline constexpr double kLimit = 1e4;
template <class T>
__device__ T above_limit(T x) {
  return x < static_cast<T>(-kLimit) ? static_cast<T>(-kLimit) : x;
}
template <class T>
__device__ T within_limits(T x) {
  return x > static_cast<T>(kLimit) ? static_cast<T>(kLimit) : above_limit(x);
}

}  // namespace tilework::maths
