// What kernels over rows and columns of float or double want beside maths.cuh.
#pragma once

#include "base/maths.cuh"

namespace tilework {

// For loops over elements. Of double it is a call: written out there it takes so many registers
// that the compiler spills some.
namespace real {
__device__ inline float exp(float x) { return maths::exp(x); }
TW_NOINLINE __device__ inline double exp(double x) { return maths::exp(x); }
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
