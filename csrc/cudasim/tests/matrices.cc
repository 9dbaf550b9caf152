// The twins of ldmatrix and mma.sync beside a product in float64, with fragments filled element by
// element as the PTX ISA's figures number them.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/ptx.cuh"
#include "cudasim/tests/device_array.h"
#include "tests/check.h"

using namespace tilework;
using namespace tilework::cudasim;

namespace {

constexpr int kM = 16, kN = 8, kWords = 32;

// a0, a1, ...: the row and column of A's element i in a lane's registers, from the PTX ISA's
// formulas for .bf16 and .f16 (groupID = lane / 4, threadID_in_group = lane % 4).
int a_row16(int lane, int i) { return lane / 4 + ((i < 2 || (i >= 4 && i < 6)) ? 0 : 8); }
int a_column16(int lane, int i) { return lane % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0); }
int b_row16(int lane, int i) { return lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0); }
int b_column16(int lane, int) { return lane / 4; }
// ... and for .tf32, one element a register.
int a_row8(int lane, int i) { return lane / 4 + (i == 1 || i == 3 ? 8 : 0); }
int a_column8(int lane, int i) { return lane % 4 + (i >= 2 ? 4 : 0); }
int b_row8(int lane, int i) { return lane % 4 + 4 * i; }
int b_column8(int lane, int) { return lane / 4; }
int c_row(int lane, int i) { return lane / 4 + (i >= 2 ? 8 : 0); }
int c_column(int lane, int i) { return lane % 4 * 2 + (i & 1); }

template <class Half>
uint32_t pair(float low, float high) {
  const Half halves[2] = {Half(low), Half(high)};
  uint32_t bits;
  std::memcpy(&bits, halves, sizeof bits);
  return bits;
}
uint32_t word(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

__global__ void multiply(int element, const uint32_t* a, const uint32_t* b, const float* c,
                         float* d) {
  const unsigned lane = threadIdx.x;
  uint32_t of_a[4], of_b[2];
  float of_d[4];
  for (unsigned i = 0; i < 4; ++i) of_a[i] = a[4 * lane + i];
  for (unsigned i = 0; i < 2; ++i) of_b[i] = b[2 * lane + i];
  for (unsigned i = 0; i < 4; ++i) of_d[i] = c[4 * lane + i];
  if (element == 0) ptx::mma_bf16(of_d, of_a, of_b);
  if (element == 1) ptx::mma_f16(of_d, of_a, of_b);
  if (element == 2) ptx::mma_tf32(of_d, of_a, of_b);
  for (unsigned i = 0; i < 4; ++i) d[4 * lane + i] = of_d[i];
}

void products(int element) {
  const int deep = element == 2 ? 8 : 16;
  std::minstd_rand random(static_cast<unsigned>(element) + 1);
  // Eighths in [-8, 8): exact in every format.
  const auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 128) - 64) / 8; };
  std::vector<float> a(static_cast<size_t>(kM * deep)), b(static_cast<size_t>(deep * kN));
  for (float& v : a) v = draw();
  for (float& v : b) v = draw();
  const auto at_a = [&](int row, int k) { return a[static_cast<size_t>(row * deep + k)]; };
  const auto at_b = [&](int k, int n) { return b[static_cast<size_t>(k * kN + n)]; };
  const auto two = element == 0 ? pair<__nv_bfloat16> : pair<__half>;
  std::vector<uint32_t> ra, rb;
  std::vector<float> rc;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      ra.push_back(element == 2 ? word(at_a(a_row8(lane, i), a_column8(lane, i)))
                                : two(at_a(a_row16(lane, 2 * i), a_column16(lane, 2 * i)),
                                      at_a(a_row16(lane, 2 * i + 1), a_column16(lane, 2 * i + 1))));
      rc.push_back(draw());
    }
    for (int i = 0; i < 2; ++i) {
      rb.push_back(element == 2 ? word(at_b(b_row8(lane, i), b_column8(lane, i)))
                                : two(at_b(b_row16(lane, 2 * i), b_column16(lane, 2 * i)),
                                      at_b(b_row16(lane, 2 * i + 1), b_column16(lane, 2 * i + 1))));
    }
  }
  const DeviceArray<uint32_t> da(ra), db(rb);
  const DeviceArray<float> dc(rc), dd(rc.size());
  launch("multiply", multiply, {1, 32}, element, da.data(), db.data(), dc.data(), dd.data());
  const auto got = dd.values();
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const size_t at = static_cast<size_t>(4 * lane + i);
      double sum = rc[at];
      for (int k = 0; k < deep; ++k) {
        sum += double{at_a(c_row(lane, i), k)} * at_b(k, c_column(lane, i));
      }
      CHECK(got[at] == static_cast<float>(sum));  // sums of eighths: exact
    }
  }
}

template <bool kTransposed>
__global__ void load(const uint16_t* x, uint32_t* y) {
  TW_SHARED(uint16_t, tile, [kWords * 8]);
  for (unsigned i = threadIdx.x; i < kWords * 8; i += 32) tile[i] = x[i];
  __syncwarp();
  uint32_t registers[4];
  if (kTransposed) {
    ptx::load_matrices_transposed(registers, &tile[8 * threadIdx.x]);
  } else {
    ptx::load_matrices(registers, &tile[8 * threadIdx.x]);
  }
  for (unsigned i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = registers[i];
}

template <bool kTransposed>
void loads() {
  std::vector<uint16_t> x(kWords * 8);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(i);
  const DeviceArray<uint16_t> dx(x);
  const DeviceArray<uint32_t> dy(32 * 4);
  launch("load", load<kTransposed>, {1, 32}, dx.data(), dy.data());
  const auto got = dy.values();
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t matrix = 0; matrix < 4; ++matrix) {
      for (uint32_t e = 0; e < 2; ++e) {
        const uint32_t far = lane / 4, near = 2 * (lane % 4) + e;
        const uint32_t row = kTransposed ? near : far, column = kTransposed ? far : near;
        const uint32_t bits = got[4 * lane + matrix] >> (16 * e) & 0xFFFF;
        CHECK(bits == (8 * matrix + row) * 8 + column);
      }
    }
  }
}

}  // namespace

int main() {
  for (int element : {0, 1, 2}) products(element);
  loads<false>();
  loads<true>();
  return 0;
}
