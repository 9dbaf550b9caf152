// The weights' gradient: for each tap, x^T @ grad over pixels, in blocks of pixels that stay in the
// caches while every tile of the weights meets them. Borders need no zeros: a tap's rows of pixels
// are cut where they leave x.
#pragma once

#include "kernels/conv/gathered.h"

namespace tilework::TW_ISA {

inline constexpr int64_t kPixelBlock = 448;
// A chain of roundings is a row of pixels, or two where there are many: a sum's error grows with
// the length of its chains and with their number.
inline constexpr int64_t kPixelChain = 64, kManyRows = 32;

// One run of k: pixels [begin, end) of a row of the grid.
struct PixelRun {
  int64_t image, row, begin, end;
  int64_t at;  // of its first pixel in the block
};

// Taps that are one in a copy of x with few channels; else each tap is its own.
struct TapRun {
  int64_t first, count;
};

template <class T>
struct WeightGradientPlan {
  using Shape = Tile<T>;
  bool folds, copies;
  CopyExtent extent;
  bool in_place;  // the tiles' rows are those of dweight
  int64_t panels, panels_at_once;
  int64_t col_parts, runs_at_once, pixels;  // of a block
  int64_t rows_a_chain;

  explicit WeightGradientPlan(const WeightGradient<T>& g) {
    folds = g.channels < kFewChannels && g.tap_count > 1;
    copies = folds || (g.x_channel != 1 && g.channels > 1);
    if (copies) extent = CopyExtent::of(g, folds);
    in_place = g.w_out == 1 && !folds;

    panels = ceil_div(g.outs, Shape::nr);
    // The tiles that a block of pixels updates should find their sums in L2.
    const int64_t sums = least<int64_t>(g.tap_count * g.channels, 1 << 30) * Shape::nr;
    const int64_t fit = sums > 0 ? kBlockOfB<T> / sums : panels;
    panels_at_once = least(panels, fit > 0 ? fit : 1);

    col_parts = ceil_div(g.cols, kPixelChain);
    const int64_t widest = col_parts > 0 ? ceil_div(g.cols, col_parts) : 1;
    runs_at_once = kPixelBlock / widest;
    pixels = runs_at_once * widest;
    rows_a_chain = g.images * g.rows > kManyRows ? 2 : 1;
  }
};

// Sums of one group, sums[(tap * channels + channel) * row + out], to where dweight wants them.
template <class T>
class SumsToWeights {
  using V = Vec<T>;

 public:
  SumsToWeights(const WeightGradient<T>& g, const T* sums, int64_t row)
      : g_(g), sums_(sums), row_(row) {}

  void run() const {
    if (g_.w_out == 1)
      put_adjacent_outs();
    else if (taps_adjacent())
      put_adjacent_taps();
    else
      put_one_by_one();
  }

 private:
  void put_adjacent_outs() const {
    const T* from = sums_;
    for (int64_t t = 0; t < g_.tap_count; ++t)
      for (int64_t c = 0; c < g_.channels; ++c, from += row_) {
        T* to = g_.dweight + g_.taps[t].weight + c * g_.w_channel;
        sweep<T>(g_.outs, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
          const V v = lanes.load(from + i);
          lanes.store(to + i, g_.add ? lanes.load(to + i) + v : v);
        });
      }
  }

  // PyTorch's order, an out's taps, channel after channel: a transposition.
  bool taps_adjacent() const {
    for (int64_t t = 0; t < g_.tap_count; ++t)
      if (g_.taps[t].weight != t) return false;
    return g_.w_channel == g_.tap_count;
  }
  void put_adjacent_taps() const {
    // A vector of places of (channel, tap), adjacent there, meets all outs at a time.
    const int64_t places = g_.channels * g_.tap_count;
    for (int64_t at = 0; at < places; at += V::width)
      put_places(at, static_cast<int>(least<int64_t>(V::width, places - at)));
  }
  void put_places(int64_t at, int lanes) const {
    const T* from[V::width];
    for (int i = 0; i < V::width; ++i) {
      const int64_t place = at + (i < lanes ? i : 0);
      from[i] = sums_ + (place % g_.tap_count * g_.channels + place / g_.tap_count) * row_;
    }
    constexpr int group = kLaneGroup<T>;
    for (int64_t o = 0; o < g_.outs; o += group) {
      V out[group];
      load_transposed(from, o, out);
      for (int j = 0; j < group && o + j < g_.outs; ++j) {
        T* to = g_.dweight + at + (o + j) * g_.w_out;
        if (g_.add) out[j] = V::load_partial(to, lanes) + out[j];
        out[j].store_partial(to, lanes);
      }
    }
  }

  void put_one_by_one() const {
    for (int64_t t = 0; t < g_.tap_count; ++t)
      for (int64_t c = 0; c < g_.channels; ++c)
        for (int64_t o = 0; o < g_.outs; ++o) {
          T& to = g_.dweight[o * g_.w_out + c * g_.w_channel + g_.taps[t].weight];
          to = (g_.add ? to : T(0)) + sums_[(t * g_.channels + c) * row_ + o];
        }
  }

  const WeightGradient<T>& g_;
  const T* sums_;
  const int64_t row_;
};

template <class T>
class BlockedWeightGradient {
  using Shape = Tile<T>;
  using V = Vec<T>;

 public:
  BlockedWeightGradient(const WeightGradient<T>& g, void* workspace)
      : g_(g), plan_(g), arena_(workspace) {
    taps_ = arena_.template take<TapRun>(g.tap_count);
    runs_ = arena_.template take<PixelRun>(plan_.runs_at_once);
    segments_ = arena_.template take<Segment<T>>(plan_.runs_at_once * g.tap_count);
    counts_ = arena_.template take<int64_t>(g.tap_count);
    grad_ = arena_.template take<T>(plan_.pixels * plan_.panels_at_once * Shape::nr);
    sums_ = arena_.template take<T>(
        plan_.in_place ? 0 : g.tap_count * g.channels * plan_.panels_at_once * Shape::nr);
    copy_ =
        arena_.template take<T>(plan_.copies ? g.images * plan_.extent.pixels(g) * g.channels : 0);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    list_taps();
    for (group_ = 0; group_ < g_.groups; ++group_) {
      x_ = {g_.x + group_ * g_.channels * g_.x_channel, g_.x_image, g_.x_row, g_.x_col};
      if (plan_.copies) x_ = arrange(g_, plan_.extent, group_, 0, g_.images, copy_);
      for (panel_ = 0; panel_ < plan_.panels; panel_ += plan_.panels_at_once) {
        const int64_t runs = g_.images * g_.rows * plan_.col_parts;
        int64_t begin = 0;
        do {
          const int64_t count = least(plan_.runs_at_once, runs - begin);
          list_runs(begin, count);
          begin += count;
          multiply_block((g_.add && plan_.in_place) || begin > count,
                         ahead_of(begin, least(plan_.runs_at_once, runs - begin)));
        } while (begin < runs);
        if (!plan_.in_place) put_sums();
      }
    }
  }

 private:
  int64_t panels_here() const { return least(plan_.panels_at_once, plan_.panels - panel_); }
  int width_of(int64_t p) const {
    return static_cast<int>(least<int64_t>(Shape::nr, g_.outs - (panel_ + p) * Shape::nr));
  }

  void list_taps() {
    tap_runs_ = 0;
    for (int64_t i = 0; i < g_.tap_count; ++i) {
      const bool follows = plan_.folds && i > 0 && g_.taps[i].row == g_.taps[i - 1].row &&
                           g_.taps[i].col == g_.taps[i - 1].col + 1;
      if (follows)
        ++taps_[tap_runs_ - 1].count;
      else
        taps_[tap_runs_++] = {i, 1};
    }
  }

  void list_runs(int64_t begin, int64_t count) {
    int64_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t line = (begin + i) / plan_.col_parts;
      const Part cols = part(g_.cols, plan_.col_parts, (begin + i) % plan_.col_parts);
      runs_[i] = {line / g_.rows, line % g_.rows, cols.begin, cols.begin + cols.size, at};
      at += cols.size;
    }
    pixels_ = at;
    for (int64_t t = 0; t < tap_runs_; ++t) counts_[t] = list_segments(t, count);
    for (int64_t p = 0; p < panels_here(); ++p)
      for (int64_t i = 0; i < count; ++i) pack_grad(runs_[i], p);
  }

  void pack_grad(const PixelRun& r, int64_t p) {
    const T* grad = g_.grad + r.image * g_.grad_image + (r.row + g_.row_begin) * g_.grad_row +
                    r.begin * g_.grad_col +
                    (group_ * g_.outs + (panel_ + p) * Shape::nr) * g_.grad_out;
    pack<T, Padding::zero>(width_of(p), Shape::nr, r.end - r.begin, grad, g_.grad_out, g_.grad_col,
                           grad_ + (p * pixels_ + r.at) * Shape::nr);
  }

  int64_t list_segments(int64_t t, int64_t runs) {
    const Tap& tap = g_.taps[taps_[t].first];
    const int64_t in_cols = plan_.extent.left + g_.in_cols + plan_.extent.right;
    const int64_t tap_col = tap.col + plan_.extent.left;
    Segment<T>* out = segments_ + t * plan_.runs_at_once;
    int64_t count = 0, chain = 0, rows = 0;
    for (int64_t i = 0; i < runs; ++i) {
      const PixelRun& r = runs_[i];
      const int64_t in_row = (g_.row_begin + r.row) * g_.row_step + tap.row;
      if (in_row < 0 || in_row >= g_.in_rows || in_cols - tap_col <= 0) continue;
      const int64_t from = tap_col < 0 ? ceil_div(-tap_col, g_.col_step) : 0;
      const int64_t to = ceil_div(in_cols - tap_col, g_.col_step);
      const int64_t begin = from > r.begin ? from : r.begin, end = least(to, r.end);
      if (begin >= end) continue;
      if (count > 0 && (rows == plan_.rows_a_chain || chain + end - begin > kPixelChain)) {
        out[count - 1].flush = true;
        chain = rows = 0;
      }
      chain += end - begin;
      ++rows;
      out[count++] = {
          x_.data + r.image * x_.image + in_row * x_.row + (begin * g_.col_step + tap_col) * x_.col,
          (r.at + begin - r.begin) * Shape::nr, end - begin, Edge::none, false};
    }
    if (count > 0) out[count - 1].flush = true;
    return count;
  }

  int64_t longest_run() const { return g_.channels * (plan_.folds ? g_.tap_count : 1); }

  // The gradient of the block of runs that begins at `begin`, which packing will read.
  Ahead<T> ahead_of(int64_t begin, int64_t count) const {
    const bool dense = plan_.panels_at_once == plan_.panels && g_.grad_out == 1;
    if (!dense || count <= 0) return Ahead<T>(g_.grad, 0, 1, 1);
    const int64_t line = begin / plan_.col_parts;
    return Ahead<T>(g_.grad + line / g_.rows * g_.grad_image + line % g_.rows * g_.grad_row,
                    count / plan_.col_parts * g_.cols * g_.grad_col,
                    ceil_div(longest_run(), Shape::mr) * panels_here() * tap_runs_, pixels_);
  }

  // Every tile of the weights in the panels at hand. Taps go innermost: they read the same pixels.
  void multiply_block(bool add, Ahead<T> ahead) {
    const int64_t most = longest_run();
    for (int64_t c = 0; c < ceil_div(most, Shape::mr); ++c)
      for (int64_t p = 0; p < panels_here(); ++p)
        for (int64_t t = 0; t < tap_runs_; ++t) {
          const int64_t length = taps_[t].count * g_.channels, parts = ceil_div(length, Shape::mr);
          if (c < parts) multiply_tile(t, part(length, parts, c), p, add, ahead);
        }
  }

  void multiply_tile(int64_t t, const Part& channels, int64_t p, bool add, Ahead<T>& ahead) {
    const int64_t tap = taps_[t].first;
    T* c;
    int64_t c_row;
    if (plan_.in_place) {
      c_row = g_.w_channel;
      c = g_.dweight + group_ * g_.w_group + g_.taps[tap].weight + (panel_ + p) * Shape::nr;
    } else {
      c_row = plan_.panels_at_once * Shape::nr;
      c = sums_ + tap * g_.channels * c_row + p * Shape::nr;
    }
    const int height = static_cast<int>(channels.size), width = width_of(p);
    segment_kernel<SegmentList<T>>(height, width)(
        {segments_ + t * plan_.runs_at_once, counts_[t], channels.begin, 1, g_.col_step * x_.col,
         grad_ + p * pixels_ * Shape::nr, ahead.next(), ahead.step()},
        {c + channels.begin * c_row, c_row, width, add});
  }

  void put_sums() const {
    WeightGradient<T> g = g_;
    g.outs = least(panels_here() * Shape::nr, g_.outs - panel_ * Shape::nr);
    g.dweight += group_ * g_.w_group + panel_ * Shape::nr * g_.w_out;
    SumsToWeights<T>(g, sums_, plan_.panels_at_once * Shape::nr).run();
  }

  const WeightGradient<T>& g_;
  const WeightGradientPlan<T> plan_;
  Arena arena_;
  TapRun* taps_;
  PixelRun* runs_;
  Segment<T>* segments_;  // runs_at_once for each run of taps
  int64_t* counts_;
  T *grad_, *sums_, *copy_;
  Source<T> x_ = {};
  int64_t group_ = 0, panel_ = 0, tap_runs_ = 0, pixels_ = 0;
};

template <class T>
bool blocked_weight_gradient_suits(const WeightGradient<T>&) {
  return true;
}
template <class T>
size_t blocked_weight_gradient_workspace(const WeightGradient<T>& g) {
  return BlockedWeightGradient<T>(g, nullptr).workspace_bytes();
}
template <class T>
void blocked_weight_gradient(const WeightGradient<T>& g, void* workspace) {
  BlockedWeightGradient<T>(g, workspace).run();
}

}  // namespace tilework::TW_ISA
