// The weights' gradient by minimal filtering (minimal_filtering.h): blocks of patches of x and of
// what flows back at their points, where their products sum up to the weights' gradient at them.
#pragma once

#include "kernels/conv/minimal_filtering.h"
#include "kernels/conv/weight_gradient.h"

namespace tilework::TW_ISA {

// Of a block: so many that the sums, which it updates, are touched seldom; and no more, since a
// chain of roundings is as long.
inline constexpr int64_t kPatchBlock = 64;

template <class F, class T>
class WinogradWeightGradient {
  using Shape = Tile<T>;
  using V = Vec<T>;
  static constexpr int64_t nr = Shape::nr, kLine = 64 / int64_t{sizeof(T)};

 public:
  WinogradWeightGradient(const WeightGradient<T>& g, void* workspace)
      : g_(g),
        arena_(workspace),
        patches_(g),
        // One, if it is empty, where bfloat16 asks what no pixels take.
        blocks_(patches_.count > 0 ? ceil_div(patches_.count, kPatchBlock) : 1),
        x_row_(point_row<T>(g.channels)),
        x_point_(ceil_div(patches_.count, blocks_) * x_row_ + kLine),
        grad_row_(point_row<T>(ceil_div(g.outs, nr) * nr)),
        grad_point_(ceil_div(patches_.count, blocks_) * grad_row_ + kLine),
        sums_row_(ceil_div(g.outs, nr) * nr),
        sums_point_(g.channels * sums_row_ + kLine) {
    zeros_ = arena_.template take<T>(g.channels > g.outs ? g.channels : g.outs);
    x_points_ = arena_.template take<T>(F::points * x_point_);
    grad_points_ = arena_.template take<T>(F::points * grad_point_);
    sums_ = arena_.template take<T>(F::points * sums_point_);
    definition_ = arena_.template take<char>(static_cast<int64_t>(definition_bytes()));
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    fill_zeros(g_.channels > g_.outs ? g_.channels : g_.outs, zeros_);
    for (group_ = 0; group_ < g_.groups; ++group_) {
      const Source<T> x{g_.x + group_ * g_.channels, g_.x_image, g_.x_row, g_.x_col};
      for (int64_t b = 0; b < blocks_; ++b) {
        const Part block = part(patches_.count, blocks_, b);
        for (int64_t i = 0; i < block.size; ++i) {
          const Place place = patches_[block.begin + i];
          put_at_points<F>(g_, x, zeros_, place, x_points_ + i * x_row_, x_point_);
          put_gradient_at_points(place, grad_points_ + i * grad_row_);
        }
        multiply(block.size, b > 0);
      }
      for (int64_t c = 0; c < g_.channels; c += kFewChannels)
        for (int64_t o = 0; o < g_.outs; o += nr)
          put_weights(c, least(kFewChannels, g_.channels - c), o, least(nr, g_.outs - o));
    }
  }

 private:
  void put_gradient_at_points(const Place& p, T* out) const {
    const T* pixel[F::side][F::side];
    for (int r = 0; r < F::side; ++r)
      for (int c = 0; c < F::side; ++c) {
        const bool outside = p.row + r >= g_.rows || p.col + c >= g_.cols;
        pixel[r][c] = outside ? zeros_
                              : g_.grad + group_ * g_.outs + p.image * g_.grad_image +
                                    (g_.row_begin + p.row + r) * g_.grad_row +
                                    (p.col + c) * g_.grad_col;
      }
    const int64_t next = F::side * g_.grad_col;
    sweep<T>(g_.outs, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
      transform<F::side, F::patch, V>(
          [&](int r, int c) TW_INLINE_LAMBDA {
            __builtin_prefetch(pixel[r][c] + k + next, 0, 3);
            return lanes.load(pixel[r][c] + k);
          },
          [](const V(&in)[F::side], V(&points)[F::patch])
              TW_INLINE_LAMBDA { F::gradient_to_points(in, points); },
          [&](int r, int c, V v)
              TW_INLINE_LAMBDA { v.store(out + (r * F::patch + c) * grad_point_ + k); });
    });
  }

  // At each point x^T @ grad over the block's patches.
  void multiply(int64_t patches, bool add) {
    const int64_t tiles = ceil_div(g_.channels, Shape::mr);
    for (int point = 0; point < F::points; ++point)
      for (int64_t t = 0; t < tiles; ++t) {
        const Part channels = part(g_.channels, tiles, t);
        const T* x = x_points_ + point * x_point_ + channels.begin;
        TileB<T> grad{grad_points_ + point * grad_point_, grad_row_};
        grad.panel = nr;
        tile_kernel<T>(static_cast<int>(channels.size), nr, true)(
            patches, {x, 1, x_row_}, grad,
            {sums_ + point * sums_point_ + channels.begin * sums_row_, sums_row_, nr, add,
             static_cast<int>(sums_row_ / nr)});
      }
  }

  // The operation on some channels and outs of the group at hand.
  WeightGradient<T> part_of(int64_t channel, int64_t channels, int64_t out, int64_t outs) const {
    WeightGradient<T> g = g_;
    g.groups = 1;
    g.channels = channels;
    g.outs = outs;
    g.x += group_ * g_.channels + channel;
    g.grad += group_ * g_.outs + out;
    g.dweight += group_ * g_.w_group + channel * g_.w_channel + out * g_.w_out;
    return g;
  }

  // Whole blocks of channels, and the last one, whose few channels may take another way.
  size_t definition_bytes() const {
    const int64_t outs = least(nr, g_.outs), rest = g_.channels % kFewChannels;
    const size_t whole =
        blocked_weight_gradient_workspace(part_of(0, least(kFewChannels, g_.channels), 0, outs));
    const size_t last =
        rest > 0 ? blocked_weight_gradient_workspace(part_of(g_.channels - rest, rest, 0, outs))
                 : 0;
    return whole > last ? whole : last;
  }

  // Of some channels and a panel of outs: [tap][channel][out] in between.
  void put_weights(int64_t channel, int64_t channels, int64_t out, int64_t outs) {
    alignas(64) T weights[F::taps * kFewChannels * nr];
    const T* from = sums_ + channel * sums_row_ + out;
    V check = V::zero();
    for (int64_t c = 0; c < channels; ++c, from += sums_row_)
      for (int64_t j = 0; j < outs; j += V::width) {
        const Mask<T> lanes = Mask<T>::first(static_cast<int>(least<int64_t>(V::width, outs - j)));
        transform<F::patch, F::window, V>(
            [&](int row, int point) TW_INLINE_LAMBDA {
              return V::load(from + (row * F::patch + point) * sums_point_ + j);
            },
            [](const V(&points)[F::patch], V(&w)[F::window])
                TW_INLINE_LAMBDA { F::gradient_from_points(points, w); },
            [&](int row, int tap, V v) TW_INLINE_LAMBDA {
              v = select(lanes, v, V::zero());
              check += v;
              v.store(weights + ((row * F::window + tap) * channels + c) * nr + j);
            });
      }
    const WeightGradient<T> g = part_of(channel, channels, out, outs);
    if (any(is_nan(check - check))) return blocked_weight_gradient(g, definition_);
    SumsToWeights<T>(g, weights, nr).run();
  }

  const WeightGradient<T>& g_;
  Arena arena_;
  const Patches<F> patches_;
  const int64_t blocks_;
  // From one patch to the next at a point, or channel, and from one point to the next.
  const int64_t x_row_, x_point_, grad_row_, grad_point_, sums_row_, sums_point_;
  T *zeros_, *x_points_, *grad_points_, *sums_;
  char* definition_;
  int64_t group_ = 0;
};

template <class F, class T>
bool winograd_weight_gradient_suits(const WeightGradient<T>& g) {
  // An error goes by the patches' and not by the pixels' products: many of them even out.
  constexpr int64_t kFewest = 16, kEnough = 192;
  const int64_t pixels = F::side * F::side;
  return minimal_filtering_pays<F>(g, kFewest) && g.x_channel == 1 && g.grad_out == 1 &&
         (g.precision != MatmulPrecision::highest ||
          g.images * g.rows * g.cols >= kEnough * pixels);
}
template <class F, class T>
size_t winograd_weight_gradient_workspace(const WeightGradient<T>& g) {
  return most_bytes_of_grids<F::window>(g, [](const WeightGradient<T>& grid) {
    return WinogradWeightGradient<F, T>(grid, nullptr).workspace_bytes();
  });
}
template <class F, class T>
void winograd_weight_gradient(const WeightGradient<T>& g, void* workspace) {
  for_each_dense_grid<F::window>(g, [&](const WeightGradient<T>& grid) {
    WinogradWeightGradient<F, T>(grid, workspace).run();
  });
}

}  // namespace tilework::TW_ISA
