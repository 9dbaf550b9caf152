// The convolutions' part of smoke.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/conv/conv.h"
#include "tests/check.h"
#include "tests/smoke.h"

namespace tilework {

// --- conv: 3x3 windows that reach over every border, either layout, all three directions ---

template <class T>
void compare_conv(int64_t images, int64_t c, int64_t o, int64_t step, bool channels_last) {
  constexpr int64_t in = 6;
  const int64_t out = (in - 1) / step + 1;
  const ConvShape s{images, c, o, 1, in, in, out, out, 3, 3, step, step, 1, 1, 1, 1};
  const auto view = [&]<class E>(E* data, int64_t channels, int64_t size) {
    const int64_t image = channels * size * size;
    return channels_last ? ImageView<E>{data, image, 1, size * channels, channels}
                         : ImageView<E>{data, image, size * size, size, 1};
  };
  const auto x = values<T>(images * c * in * in), w = values<T>(o * c * 9),
             dy = values<T>(images * o * out * out);
  std::vector<T> y(dy.size()), dx(x.size()), dw(w.size());
  const auto xs = view(x.data(), c, in), dys = view(dy.data(), o, out);
  const KernelView<const T> ws{w.data(), c * 9, 9, 3, 1};
  conv_forward<T>(s, xs, ws, y.data(), {});
  conv_input_gradient<T>(s, dys, ws, dx.data(), {});
  conv_weight_gradient<T>(s, xs, dys, {dw.data(), c * 9, 9, 3, 1});

  struct Sum {
    Longest value = 0, size = 0;
    void add(Longest term) { value += term, size += std::abs(term); }
  };
  std::vector<Sum> y_sum(y.size()), dx_sum(x.size()), dw_sum(w.size());
  for (int64_t i = 0; i < images * out * out * o; ++i)
    for (int64_t j = 0; j < 9 * c; ++j) {
      const int64_t n = i / (out * out * o), row = i / (out * o) % out, col = i / o % out;
      const int64_t in_row = row * step + j / 3 % 3 - 1, in_col = col * step + j % 3 - 1;
      if (in_row < 0 || in_row >= in || in_col < 0 || in_col >= in) continue;
      const int64_t ch = j / 9, wi = i % o * c * 9 + j;
      const Longest a = xs.data[n * xs.image + ch * xs.channel + in_row * xs.row + in_col * xs.col];
      const Longest g =
          dys.data[n * dys.image + i % o * dys.channel + row * dys.row + col * dys.col];
      y_sum[i].add(a * w[wi]);
      dx_sum[((n * in + in_row) * in + in_col) * c + ch].add(g * w[wi]);
      dw_sum[wi].add(a * g);
    }
  for (std::size_t i = 0; i < y.size(); ++i) near(y[i], y_sum[i].value, y_sum[i].size);
  for (std::size_t i = 0; i < dx.size(); ++i) near(dx[i], dx_sum[i].value, dx_sum[i].size);
  for (std::size_t i = 0; i < dw.size(); ++i) near(dw[i], dw_sum[i].value, dw_sum[i].size);
}
template <class T>
void check_conv(int64_t rows, int64_t cols) {
  for (const int64_t step : {1, 2})
    for (const bool channels_last : {false, true})
      compare_conv<T>(2, std::min<int64_t>(rows, 18), std::min<int64_t>(cols, 35), step,
                      channels_last);
}

// The grids of a dilated window's pixels have residuals of their own, and the bias in common.
template <class T>
void compare_dilated_epilogue() {
  constexpr int64_t n = 12, c = 32, o = 35, in = 12, pixels = n * in * in;
  const ConvShape s{n, c, o, 1, in, in, in, in, 3, 3, 1, 1, 2, 2, 2, 2};
  const auto x = values<T>(pixels * c), w = values<T>(o * c * 9), bias = values<T>(o),
             residual = values<T>(pixels * o);
  const ImageView<const T> xs{x.data(), in * in * c, 1, in * c, c};
  std::vector<T> plain(pixels * o), y(pixels * o);
  conv_forward<T>(s, xs, {w.data(), c * 9, 9, 3, 1}, plain.data(), {});
  Epilogue<T> e;
  e.bias = bias.data();
  e.residual = residual.data();
  conv_forward<T>(s, xs, {w.data(), c * 9, 9, 3, 1}, y.data(), e);
  for (int64_t i = 0; i < pixels * o; ++i) CHECK(y[i] == plain[i] + bias[i % o] + residual[i]);
}

// Enough pixels for it; double takes the definition all the same. Then the way around a NaN, of
// which the last few channels have one of their own.
template <class T>
void compare_minimal_filtering(MatmulPrecision precision, const char* routine) {
  constexpr int64_t n = 22, c = 26, o = 35, in = 6;
  set_matmul_precision(precision);
  if (sizeof(T) == 4) set_conv_routine(routine);
  compare_conv<T>(n, c, o, 1, true);
  const ConvShape s{n, c, o, 1, in, in, in, in, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto w = values<T>(o * c * 9), dy = values<T>(n * in * in * o);
  auto x = values<T>(n * in * in * c);
  x[c - 1] = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> y(dy.size()), dw(w.size());
  const ImageView<const T> xs{x.data(), in * in * c, 1, in * c, c};
  const ImageView<const T> dys{dy.data(), in * in * o, 1, in * o, o};
  conv_forward<T>(s, xs, {w.data(), c * 9, 9, 3, 1}, y.data(), {});
  conv_weight_gradient<T>(s, xs, dys, {dw.data(), c * 9, 9, 3, 1});
  // Of the first image the pixels up to (1, 1), and the last channel's weights but those that meet
  // its first pixel nowhere.
  for (int64_t i = 0; i < n * in * in * o; ++i)
    CHECK(std::isnan(y[i]) == (i / o < in * 2 && i / o % in < 2));
  for (int64_t i = 0; i < o * c * 9; ++i)
    CHECK(std::isnan(dw[i]) == (i / 9 % c == c - 1 && i % 9 / 3 < 2 && i % 3 < 2));
  compare_dilated_epilogue<T>();
  set_conv_routine("");
  set_matmul_precision(MatmulPrecision::highest);
}
template <class T>
void check_minimal_filtering(int64_t rows, int64_t) {
  if (rows < 16) return;
  compare_minimal_filtering<T>(MatmulPrecision::highest, "winograd_2x2");
  compare_minimal_filtering<T>(MatmulPrecision::high, "winograd_4x4");
}

// The same in bfloat16, beside float; and the weights of both packed ahead.
inline void compare_bfloat16_conv(int64_t n, int64_t c, int64_t o, int64_t groups, int64_t in,
                                  bool channels_last) {
  const int64_t image = c * in * in, outs = o * in * in;
  const ConvShape s{n, c, o, groups, in, in, in, in, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto rounded = [](const std::vector<float>& from) {
    std::vector<bfloat16> to(from.size());
    narrow(from.data(), to.data(), static_cast<int64_t>(from.size()));
    return to;
  };
  const auto x = rounded(values<float>(n * image)), dy = rounded(values<float>(n * outs)),
             w = rounded(values<float>(o * c / groups * 9));
  const auto run = [&]<class T>(const std::vector<T>& xs, const std::vector<T>& ws,
                                const std::vector<T>& dys) {
    const ImageView<const T> from = channels_last
                                        ? ImageView<const T>{xs.data(), image, 1, in * c, c}
                                        : ImageView<const T>{xs.data(), image, in * in, in, 1};
    const ImageView<const T> grad{dys.data(), outs, 1, in * o, o};
    const int64_t out_step = c / groups * 9;
    const KernelView<const T> kernel{ws.data(), out_step, 9, 3, 1};
    std::vector<T> y(dys.size()), dx(xs.size()), dw(ws.size()), again(dys.size());
    conv_forward<T>(s, from, kernel, y.data(), {});
    conv_input_gradient<T>(s, grad, kernel, dx.data(), {});
    conv_weight_gradient<T>(s, from, grad, {dw.data(), out_step, 9, 3, 1});
    const KernelPacking packing = conv_packing<T>(s, from, kernel);
    const Scratch<char> packed(packing.bytes);
    if (packing.routine) conv_pack<T>(s, from, kernel, packing, packed.get());
    conv_forward<T>(s, from, kernel, again.data(), {}, {packing.routine, packed.get()});
    CHECK(std::memcmp(y.data(), again.data(), y.size() * sizeof(T)) == 0);
    return std::vector<std::vector<T>>{y, dx, dw};
  };
  const auto widened = [](const std::vector<bfloat16>& from) {
    std::vector<float> to(from.size());
    widen(from.data(), to.data(), static_cast<int64_t>(from.size()));
    return to;
  };
  const auto got = run(x, w, dy);
  const auto want = run(widened(x), widened(w), widened(dy));
  // Of the longest sum's terms together.
  const float size = 4.0f * static_cast<float>(std::max({9 * c, 9 * o, n * in * in}));
  for (std::size_t k = 0; k < got.size(); ++k)
    for (std::size_t i = 0; i < got[k].size(); ++i)
      CHECK(std::abs(to_float(got[k][i]) - want[k][i]) <=
            0x1p-8f * std::abs(want[k][i]) + 0x1p-19f * size);
}
template <bool Depthwise>
void check_bfloat16_conv(int64_t rows, int64_t cols) {
  const int64_t c = std::min<int64_t>(rows, 18), o = Depthwise ? c : std::min<int64_t>(cols, 35);
  compare_bfloat16_conv(2, c, o, Depthwise ? c : 1, 6, false);
  if (Depthwise || rows < 16) return;
  // Widened by 14 images at a time; the last four of them make the larger block of patches.
  const int threads = num_threads();
  set_num_threads(1);
  compare_bfloat16_conv(18, 32, 32, 1, 8, true);
  set_num_threads(threads);
}

}  // namespace tilework
