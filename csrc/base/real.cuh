// Functions of float and of double by one name, for kernels that are templates.
#pragma once

#include "base/cuda.cuh"

namespace tilework {

namespace real {
__device__ inline float exp(float x) { return expf(x); }
// A call: written out in a loop it takes so many registers that the compiler spills some.
TW_NOINLINE __device__ inline double exp(double x) { return ::exp(x); }
__device__ inline float log(float x) { return logf(x); }
__device__ inline double log(double x) { return ::log(x); }
__device__ inline float sqrt(float x) { return sqrtf(x); }
__device__ inline double sqrt(double x) { return ::sqrt(x); }
__device__ inline float abs(float x) { return fabsf(x); }
__device__ inline double abs(double x) { return fabs(x); }
}  // namespace real

// The other one where one is NaN: a single instruction of the card's.
struct LargerNumber {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
  __device__ double operator()(double a, double b) const { return fmax(a, b); }
};

template <class T>
__device__ T infinity() {
  return static_cast<T>(__int_as_float(0x7F800000));
}
template <class T>
__device__ T not_a_number() {
  return static_cast<T>(__int_as_float(0x7FC00000));
}

// The lowest of the finite numbers.
template <class T>
inline constexpr T kLowest = static_cast<T>(-3.40282346638528860e+38);
template <>
inline constexpr double kLowest<double> = -1.7976931348623157e+308;

}  // namespace tilework
