#include "cudasim/matrix.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "cudasim/block.h"
#include "cudasim/monitor.h"

namespace tilework::cudasim {
namespace {

constexpr int kRows = 16, kColumns = 8, kMostDeepProduct = 16;
constexpr uint32_t kTf32Bits = 0xFFFFE000u;

// --- ldmatrix ---

struct MatrixLoad {
  int count;
  bool transposed;
  const char* row;
  uint32_t* registers;
};

void complete_ldmatrix(const Lanes& lanes, uint32_t) {
  const auto load = [&](uint32_t lane) {
    return static_cast<const MatrixLoad*>(lanes[lane]->waits_for.in);
  };
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const MatrixLoad& mine = *load(lane);
    for (int i = 0; i < mine.count; ++i) {
      uint16_t pair[2];
      for (uint32_t e = 0; e < 2; ++e) {
        const uint32_t across = 2 * (lane % 4) + e, along = lane / 4;
        const uint32_t row = mine.transposed ? across : along;
        const uint32_t column = mine.transposed ? along : across;
        std::memcpy(&pair[e], load(8 * static_cast<uint32_t>(i) + row)->row + 2 * column, 2);
      }
      std::memcpy(&mine.registers[i], pair, sizeof pair);
    }
  }
}

// --- mma ---

struct Product {
  Element element;
  float* d;
  const uint32_t *a, *b;
  const float* c;
};

float half_of(Element element, uint32_t pair, int which) {
  const uint16_t bits = static_cast<uint16_t>(which == 0 ? pair : pair >> 16);
  if (element == Element::bf16) return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits}));
  return __half2float(__half(__half_raw{bits}));
}

float tf32_of(uint32_t bits) {
  bits &= kTf32Bits;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Matrices {
  float a[kRows][kMostDeepProduct], b[kMostDeepProduct][kColumns];
};

void gather(const Product& lane_has, uint32_t lane, Matrices& m) {
  const uint32_t row = lane / 4, column = lane % 4;
  const bool pairs = lane_has.element != Element::tf32;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t r = row + i % 2 * 8, upper = i / 2;
    if (!pairs) {
      m.a[r][column + 4 * upper] = tf32_of(lane_has.a[i]);
      continue;
    }
    for (int e = 0; e < 2; ++e) {
      m.a[r][2 * column + 8 * upper + static_cast<uint32_t>(e)] =
          half_of(lane_has.element, lane_has.a[i], e);
    }
  }
  for (uint32_t i = 0; i < 2; ++i) {
    if (!pairs) {
      m.b[column + 4 * i][row] = tf32_of(lane_has.b[i]);
      continue;
    }
    for (int e = 0; e < 2; ++e) {
      m.b[2 * column + 8 * i + static_cast<uint32_t>(e)][row] =
          half_of(lane_has.element, lane_has.b[i], e);
    }
  }
}

void complete_mma(const Lanes& lanes, uint32_t) {
  const auto product = [&](uint32_t lane) {
    return static_cast<const Product*>(lanes[lane]->waits_for.in);
  };
  Matrices m;
  for (uint32_t lane = 0; lane < kWarp; ++lane) gather(*product(lane), lane, m);
  const int deep = product(0)->element == Element::tf32 ? 8 : 16;
  float results[kWarp][4];
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t r = lane / 4 + i / 2 * 8, n = 2 * (lane % 4) + i % 2;
      float sum = product(lane)->c[i];
      for (int k = 0; k < deep; ++k) sum += m.a[r][k] * m.b[k][n];
      results[lane][i] = sum;
    }
  }
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    std::memcpy(product(lane)->d, results[lane], sizeof results[lane]);
  }
}

}  // namespace

void ldmatrix(int count, bool transposed, const void* row, uint32_t* registers, Site at) {
  // The rows of the matrices that are loaded; other lanes' addresses are not looked at.
  if (this_thread().lane < static_cast<uint32_t>(8 * count)) {
    see({.at = const_cast<void*>(row), .bytes = 16, .store = false, .space = Space::shared}, at);
  }
  const MatrixLoad mine{count, transposed, static_cast<const char*>(row), registers};
  wait_for_warp({.name = "ldmatrix",
                 .mask = kFullWarp,
                 .at = at,
                 .complete = complete_ldmatrix,
                 .in = &mine});
}

void mma(Element element, float* d, const uint32_t* a, const uint32_t* b, const float* c, Site at) {
  const Product mine{element, d, a, b, c};
  wait_for_warp(
      {.name = "mma.sync", .mask = kFullWarp, .at = at, .complete = complete_mma, .in = &mine});
}

}  // namespace tilework::cudasim
