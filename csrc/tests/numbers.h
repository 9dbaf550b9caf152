// What tests of the routines on tiles share: values of many kinds, errors by a float64 answer, and
// memory with guards.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "tests/check.h"

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr double kUnit = 0x1p-24;  // float32's unit roundoff

// --- values ---

using Values = std::function<float(std::minstd_rand&)>;
inline float normal(std::minstd_rand& r) { return std::normal_distribution<float>()(r); }
inline float positive(std::minstd_rand& r) { return std::uniform_real_distribution<float>()(r); }
inline Values spread(double decades) {  // magnitudes even over 10^-decades to 10^decades
  return [decades](std::minstd_rand& r) {
    const double e = std::uniform_real_distribution<double>(-decades, decades)(r);
    return static_cast<float>(normal(r) * std::pow(10.0, e));
  };
}
inline Values sparse(double share) {
  return [share](std::minstd_rand& r) {
    return std::uniform_real_distribution<double>()(r) < share ? normal(r) : 0.0f;
  };
}
inline Values scaled(float by) {
  return [by](std::minstd_rand& r) { return normal(r) * by; };
}

// --- memory ---

inline constexpr char kGuard = 0x5a;
inline constexpr int64_t kGuardBytes = 4096;

struct Aligned {
  explicit Aligned(size_t bytes)
      : size(bytes),
        data(static_cast<char*>(std::aligned_alloc(64, (bytes + kGuardBytes + 63) / 64 * 64))) {
    std::memset(data, kGuard, bytes + kGuardBytes);
  }
  ~Aligned() {
    for (int64_t i = 0; i < kGuardBytes; ++i) CHECK(data[size + i] == kGuard);
    std::free(data);
  }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  size_t size;
  char* data;
};

inline bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

// --- errors, relative to the sum of magnitudes ---

struct Error {
  double squares = 0, most = 0;
  int64_t count = 0;

  // An element whose exact value is finite counts; another must be what IEEE says.
  void add(float got, double exact, double magnitude) {
    if (std::isnan(exact)) {
      CHECK(std::isnan(got));
    } else if (std::isinf(exact)) {
      CHECK(got == static_cast<float>(exact));
    } else {
      // Float32 itself holds multiples of 2^-149 only.
      const double e = std::abs(got - exact) / std::max(magnitude, 0x1p-125);
      squares += e * e;
      most = std::max(most, e);
      ++count;
    }
  }
  // Where two samples of `count` errors are alike, their rms still differ by chance: by one part in
  // the root of that, about.
  bool rms_at_most(const Error& other) const {
    return rms() <= (1 + 1 / std::sqrt(static_cast<double>(count))) * other.rms();
  }
  bool at_most(const Error& other) const { return rms_at_most(other) && most <= 1.15 * other.most; }
  double rms() const { return std::sqrt(squares / static_cast<double>(count)); }
};
