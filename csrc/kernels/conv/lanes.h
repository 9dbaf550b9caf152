// Convolutions whose channels meet few others: depthwise ones, and groups so narrow that a vector
// of output channels needs no more than a vector of input channels.
//
// A vector's lanes are output channels, channels last in memory. In a depthwise convolution lane l
// reads lane l of the input. With more channels a group, term k of lane l's sum reads channel k of
// that lane's group: a permutation of one vector of the input, and as many products as the
// convolution has, where a dense product over the vector would multiply zeros.
#pragma once

#include "kernels/conv/arrange.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {

// Where vector v's lanes find their input channels: first[v] is the first that any of them reads,
// and lane l's term k is lanes[(v * terms + k) * width + l] further on.
template <class T>
struct LanePicks {
  int64_t terms;  // channels in a group
  int64_t in_channels, out_channels;
  int64_t whole;  // so many vectors, the first, use each lane of their outputs and inputs
  int64_t* first;
  typename BitsOf<T>::type* lanes;

  LanePicks(const ConvGeometry& g, Arena& arena)
      : terms(g.channels), in_channels(g.groups * g.channels), out_channels(g.groups * g.outs) {
    first = arena.template take<int64_t>(vectors());
    lanes = arena.template take<typename BitsOf<T>::type>(vectors() * terms * Vec<T>::width);
  }
  int64_t vectors() const { return ceil_div(out_channels, Vec<T>::width); }
  bool depthwise() const { return in_channels == out_channels && terms == 1; }

  void fill(int64_t outs) {
    constexpr int W = Vec<T>::width;
    whole = 0;
    for (int64_t v = 0; v < vectors(); ++v) {
      first[v] = v * W / outs * terms;
      if ((v + 1) * W <= out_channels && first[v] + W <= in_channels) whole = v + 1;
      for (int64_t k = 0; k < terms; ++k)
        for (int l = 0; l < W; ++l) {
          const int64_t out = least(v * W + l, out_channels - 1);
          lanes[(v * terms + k) * W + l] = out / outs * terms + k - first[v];
        }
    }
  }
};

// Whether every vector of outputs finds its input channels in one vector.
template <class T>
bool lanes_suit(const ConvGeometry& g) {
  constexpr int64_t W = Vec<T>::width, kMostTerms = 8;  // beyond, the blocked kernel is as fast
  if (g.groups == 1 || g.channels == 0 || g.outs == 0 || g.channels > kMostTerms) return false;
  for (int64_t out = 0; out < least(g.groups * g.outs, W * g.outs); out += W) {
    const int64_t last = least(out + W, g.groups * g.outs) - 1;
    if ((last / g.outs - out / g.outs + 1) * g.channels > W) return false;
  }
  return true;
}

// One vector of output channels, and the input channels under it.
template <class T, bool Permuted, class Lanes>
struct LaneVector {
  using V = Vec<T>;
  static constexpr bool permuted = Permuted;
  Lanes out_lanes, in_lanes;
  int64_t out, in;  // first channels
  int64_t terms;
  const typename BitsOf<T>::type* lanes;  // [term][width]

  TW_INLINE V read(const T* p, int64_t k) const { return term(in_lanes.load(p + in), k); }
  // What term k of each lane's sum reads, out of the vector of input channels.
  TW_INLINE V term(V v, int64_t k) const {
    if constexpr (!Permuted)
      return v;
    else
      return pick(v, Bits<T>::load(lanes + k * V::width));
  }
};

template <class T, bool Permuted, class Lanes>
TW_INLINE LaneVector<T, Permuted, Lanes> lane_vector(const LanePicks<T>& picks, int64_t v) {
  constexpr int W = Vec<T>::width;
  LaneVector<T, Permuted, Lanes> vector{{}, {}, v * W, v * W, 1, nullptr};
  if constexpr (Permuted) {
    vector.in = picks.first[v];
    vector.terms = picks.terms;
    vector.lanes = picks.lanes + v * picks.terms * W;
  }
  if constexpr (requires { vector.out_lanes.n; }) {
    vector.out_lanes.n = static_cast<int>(least<int64_t>(W, picks.out_channels - vector.out));
    vector.in_lanes.n = static_cast<int>(least<int64_t>(W, picks.in_channels - vector.in));
  }
  return vector;
}

// body<permuted, kind of lanes>(vectors) for the vectors [begin, end) of output channels, those of
// one kind at a time.
template <class T, class Body>
TW_INLINE void for_each_lane_kind(const LanePicks<T>& picks, int64_t begin, int64_t end,
                                  Body body) {
  const int64_t whole = least(end, picks.whole > begin ? picks.whole : begin);
  const Part wholes{begin, whole - begin}, parts{whole, end - whole};
  const auto of_kind = [&]<bool permuted>() TW_INLINE_LAMBDA {
    if (wholes.size > 0) body.template operator()<permuted, WholeVector<T>>(wholes);
    if (parts.size > 0) body.template operator()<permuted, PartVector<T>>(parts);
  };
  if (picks.depthwise())
    of_kind.template operator()<false>();
  else
    of_kind.template operator()<true>();
}

// One tap of a row of windows: pixel q of the grid reads in[q * step], for q in [begin, end) alone.
template <class T>
struct LaneTap {
  const T* in;      // of q = 0, which may lie outside of the image
  int64_t weights;  // elements to this tap's, [term][out channel]
  int64_t begin, end;
  bool starts_run;  // the next two taps read, in turn, what this one does a pixel further on
};

struct Span {
  int64_t begin, end;
};

// The pixels of a row whose windows' column of tap `t` lies within x.
TW_INLINE Span pixels_reached(const ConvGeometry& g, const Tap& t) {
  if (t.col >= g.in_cols) return {0, 0};
  return {t.col < 0 ? ceil_div(-t.col, g.col_step) : 0,
          least(g.cols, ceil_div(g.in_cols - t.col, g.col_step))};
}

// The pixels of a row that every tap reaches, whichever row; [count, count) where there are none.
TW_INLINE Span pixels_inside(const ConvGeometry& g) {
  Span all{0, g.cols};
  for (int64_t i = 0; i < g.tap_count; ++i) {
    const Span reached = pixels_reached(g, g.taps[i]);
    if (reached.begin > all.begin) all.begin = reached.begin;
    if (reached.end < all.end) all.end = reached.end;
  }
  return all.begin < all.end ? all : Span{g.cols, g.cols};
}

// The taps that meet row `row` of the piece's grid; gives their count.
template <class T>
int64_t list_lane_taps(const ConvGeometry& g, const Source<T>& x, int64_t row, LaneTap<T>* taps) {
  int64_t count = 0;
  for (int64_t i = 0; i < g.tap_count; ++i) {
    const Tap& t = g.taps[i];
    const int64_t in_row = (g.row_begin + row) * g.row_step + t.row;
    const Span reached = pixels_reached(g, t);
    if (in_row < 0 || in_row >= g.in_rows || reached.begin >= reached.end) continue;
    taps[count++] = {x.data + in_row * x.row + t.col * x.col, i * g.channels * g.groups * g.outs,
                     reached.begin, reached.end, false};
  }
  const int64_t step = g.col_step * x.col, weights = g.channels * g.groups * g.outs;
  const auto follows = [&](const LaneTap<T>& a, const LaneTap<T>& b) {
    return b.in - a.in == step && b.weights - a.weights == weights;
  };
  for (int64_t i = 0; i + 2 < count; ++i)
    taps[i].starts_run = follows(taps[i], taps[i + 1]) && follows(taps[i + 1], taps[i + 2]);
  return count;
}

// The pixels of a row that each of `taps` reaches; [count, count) where there are none.
template <class T>
TW_INLINE Span inside(const LaneTap<T>* taps, int64_t tap_count, int64_t count) {
  Span all{0, count};
  for (int64_t t = 0; t < tap_count; ++t) {
    if (taps[t].begin > all.begin) all.begin = taps[t].begin;
    if (taps[t].end < all.end) all.end = taps[t].end;
  }
  return all.begin < all.end ? all : Span{count, count};
}

// What the next rows will read, asked for into L2 in the order of memory: their own reads go from
// pixel to pixel of one vector of channels, which the hardware does not foresee.
template <class T>
class LookAhead {
 public:
  LookAhead(const T* begin, int64_t count) : at_(begin), end_(begin + count) {}
  TW_INLINE void ask(int64_t lines) {
    constexpr int64_t kLine = 64 / sizeof(T);
    for (; lines > 0 && at_ < end_; --lines, at_ += kLine) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const T *at_, *end_;
};

// x with its channels adjacent: as it lies, or a copy of one image at a time.
template <class T>
class LaneSource {
 public:
  template <class Args>
  LaneSource(const Args& g, Arena& arena)
      : copies_(g.x_channel != 1 && g.groups * g.channels > 1), extent_(CopyExtent::of(g, false)) {
    const int64_t pixels = copies_ ? extent_.pixels(g) : 0;
    copy_ = arena.template take<T>(pixels * g.groups * g.channels);
  }
  template <class Args>
  Source<T> image(const Args& g, int64_t n) const {
    if (!copies_) return {g.x + n * g.x_image, g.x_image, g.x_row, g.x_col};
    Args whole = g;
    whole.channels *= g.groups;
    return arrange(whole, extent_, 0, n, 1, copy_);
  }

 private:
  bool copies_;
  CopyExtent extent_;
  T* copy_;
};

}  // namespace tilework::TW_ISA
