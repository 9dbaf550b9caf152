// The blocked correlation: some panels of packed weights stay in L2 while the pixels stream by.
//
// A tile takes kBlock products at a time, so that what it reads of x stays in L1 while every panel
// of weights meets it. Within them, chains of roundings end after kChain products: what bounds the
// error where there are many channels.
#pragma once

#include "kernels/conv/arrange.h"
#include "kernels/conv/pixels.h"
#include "kernels/conv/streaming.h"

namespace tilework::TW_ISA {

inline constexpr int64_t kBlock = 512;
// A sum's error grows with the length of its chains and with their number.
inline constexpr int64_t kChainOfMany = 96, kMany = 4096;  // else kChain

// What the rows [begin, begin + size) of a tile lose to x's borders under one tap.
enum class Clip : int { none, first, last, all, other };
TW_INLINE Clip clip(const ConvGeometry& g, const Part& cols, const Tap& tap) {
  const int64_t at = cols.begin * g.col_step + tap.col, room = g.in_cols - at;
  const int64_t low = at < 0 ? least(cols.size, ceil_div(-at, g.col_step)) : 0;
  const int64_t high = cols.size - (room > 0 ? least(cols.size, ceil_div(room, g.col_step)) : 0);
  if (low + high == 0) return Clip::none;
  if (low + high >= cols.size) return Clip::all;
  if (low + high > 1) return Clip::other;
  return low ? Clip::first : Clip::last;
}

// Of one panel of packed weights.
template <class T>
inline constexpr int64_t kPanelSteps = kBlockOfB<T> / Tile<T>::nr;

// Weights that meet all pixels of an image in one pass: what the smallest L2 of such machines holds
// beside x. Less would read x more often for nothing.
inline constexpr int64_t kPassBytes = kRegisters == 32 ? 5 << 18 : 3 << 17;

template <class T>
int64_t channel_blocks_of(const ConvGeometry& g) {
  const int64_t taps = g.tap_count > 0 ? g.tap_count : 1;
  const int64_t longest = least(kBlock, kPanelSteps<T> / taps > 0 ? kPanelSteps<T> / taps : 1);
  return g.channels > 0 ? ceil_div(g.channels, longest) : 1;
}

template <class T>
struct CorrelationPlan {
  using Shape = Tile<T>;
  bool copies, margins;  // x; with zeros beside it
  CopyExtent extent;
  int64_t images_at_once;
  int64_t channel_blocks, channels;  // of one block
  int64_t panels, panels_at_once;    // packed at once
  int64_t pass_panels;               // of those
  int64_t col_parts;
  bool flat;  // tiles of pixels, not of rows' parts
  int64_t taps_at_once, tap_blocks, chain;
  int64_t segments_most;  // of one block of taps
  TapRange taps_reach;
  bool streams;  // y, around the caches

  explicit CorrelationPlan(const Correlation<T>& g) {
    const int64_t taps = g.tap_count > 0 ? g.tap_count : 1;
    channel_blocks = channel_blocks_of<T>(g);
    channels = ceil_div(g.channels, channel_blocks);
    taps_at_once = kBlock / (channels > 0 ? channels : 1);
    tap_blocks = g.tap_count > 0 ? ceil_div(g.tap_count, taps_at_once) : 1;

    col_parts = ceil_div(g.cols, Shape::mr);
    // Where parts of a row would fill less than two thirds of their tiles.
    flat = kHasPixelTiles<T> && g.in_rows > 1 && g.y_row == g.cols * g.y_col &&
           3 * g.cols < 2 * Shape::mr * col_parts;
    margins = !flat && clips_oddly(g);
    copies = margins || (g.x_channel != 1 && g.channels > 1);
    if (copies) extent = CopyExtent::of(g, margins);

    chain = g.tap_count * g.channels > kMany ? kChainOfMany : kChain;
    segments_most = least(taps_at_once, g.tap_count) * ceil_div(channels, chain);

    panels = ceil_div(g.outs, Shape::nr);
    const int64_t steps = taps * channels > 0 ? taps * channels : 1;
    const auto fit = [&](int64_t room) { return room / steps > 0 ? room / steps : 1; };
    panels_at_once = least(panels, fit(kPanelSteps<T>));
    pass_panels = least(panels_at_once, fit(kPassBytes / sizeof(T) / Shape::nr));
    // Weights that one block holds are packed once, and each image copied when its turn comes.
    images_at_once = one_block() ? 1 : g.images;

    taps_reach = TapRange::of(g);
    streams = channel_blocks == 1 && can_stream(g, g.outs);
  }
  bool one_block() const { return channel_blocks == 1 && panels_at_once == panels; }

 private:
  bool clips_oddly(const Correlation<T>& g) const {
    for (int64_t p = 0; p < col_parts; ++p)
      for (int64_t i = 0; i < g.tap_count; ++i)
        if (clip(g, part(g.cols, col_parts, p), g.taps[i]) == Clip::other) return true;
    return false;
  }
};

template <class T>
class BlockedCorrelation {
  using Shape = Tile<T>;

 public:
  BlockedCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g), plan_(g), arena_(workspace) {
    const int64_t lists = plan_.col_parts * plan_.tap_blocks + 1;
    lists_ = arena_.template take<SegmentsOfRow>(lists);
    segments_ = arena_.template take<Segment<T>>(lists * plan_.segments_most);
    pixel_segments_ = arena_.template take<PixelSegment>(plan_.flat ? plan_.segments_most : 0);
    zeros_ = arena_.template take<T>(plan_.flat ? plan_.channels : 0);
    slots_ = arena_.template take<int32_t>(PanelPacker<T>::slot_room(g));
    // The kernel's requests for B run past the end, which costs nothing; its loads do not.
    weights_ =
        arena_.template take<T>(g.tap_count * plan_.channels * Shape::nr * plan_.panels_at_once);
    copy_ = arena_.template take<T>(
        plan_.copies ? plan_.images_at_once * plan_.extent.pixels(g) * g.channels : 0);
    sums_ = arena_.template take<T>(plan_.streams ? Shape::mr * sums_row() : 0);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    const PanelPacker<T> packer(g_, slots_);
    if (plan_.flat) fill_zeros(plan_.channels, zeros_);
    for (group_ = 0; group_ < g_.groups; ++group_)
      for (int64_t n = 0; n < g_.images; n += plan_.images_at_once) {
        const int64_t images = least(plan_.images_at_once, g_.images - n);
        Source<T> x{g_.x + group_ * g_.channels * g_.x_channel + n * g_.x_image, g_.x_image,
                    g_.x_row, g_.x_col};
        if (plan_.copies) x = arrange(g_, plan_.extent, group_, n, images, copy_);
        for (panel_ = 0; panel_ < plan_.panels; panel_ += plan_.panels_at_once)
          for (int64_t b = 0; b < plan_.channel_blocks; ++b) {
            channels_ = part(g_.channels, plan_.channel_blocks, b);
            if (n == 0 || !plan_.one_block()) pack(packer);
            forget_lists();
            for (int64_t i = 0; i < images; ++i) multiply_image(x, n + i, i);
          }
      }
    if (plan_.streams) stream_fence();
  }

 private:
  int64_t panels_here() const { return least(plan_.panels_at_once, plan_.panels - panel_); }
  int64_t sums_row() const { return plan_.pass_panels * Shape::nr; }
  int64_t panel_elements() const { return g_.tap_count * channels_.size * Shape::nr; }

  void pack(const PanelPacker<T>& packer) {
    if (g_.packed) return;
    for (int64_t p = 0; p < panels_here(); ++p) {
      const int64_t col = (panel_ + p) * Shape::nr;
      packer.run(group_, col, static_cast<int>(least<int64_t>(Shape::nr, g_.outs - col)),
                 channels_.begin, channels_.size, weights_ + p * panel_elements());
    }
  }

  // Panel p of those at hand: in the block packed last, or where all were packed ahead.
  const T* panel(int64_t p) const {
    if (!g_.packed) return weights_ + p * panel_elements();
    const int64_t at = (group_ * plan_.panels + panel_ + p) * g_.channels + channels_.begin;
    return reinterpret_cast<const T*>(g_.packed) + at * g_.tap_count * Shape::nr;
  }

  void multiply_image(const Source<T>& x, int64_t image, int64_t image_of_source) {
    const T* in = x.data + image_of_source * x.image + channels_.begin;
    const int64_t out = image * g_.y_image + group_ * g_.outs;
    for (int64_t first = 0; first < panels_here(); first += plan_.pass_panels) {
      const Part panels = {first, least(plan_.pass_panels, panels_here() - first)};
      if (plan_.flat) {
        if constexpr (kHasPixelTiles<T>) multiply_flat(x, in, panels, out);
        continue;
      }
      for (int64_t row = 0; row < g_.rows; ++row)
        for (int64_t p = 0; p < plan_.col_parts; ++p)
          multiply_pixels(x, in, panels, row, p, out + row * g_.y_row);
    }
  }

  // The piece's pixels in tiles of the image's, of which the first and the last may be cut.
  void multiply_flat(const Source<T>& x, const T* in, const Part& panels, int64_t out) {
    const int64_t begin = g_.row_begin * g_.cols, end = begin + g_.rows * g_.cols;
    for (int64_t tile = begin / Shape::mr * Shape::mr; tile < end; tile += Shape::mr) {
      const int64_t first = tile > begin ? tile : begin;
      const Part pixels{first - tile, least<int64_t>(tile + Shape::mr, end) - first};
      multiply_pixel_tile(x, in, panels, tile, pixels, out + (first - begin) * g_.y_col);
    }
  }

  // `pixels` of the tile that begins with pixel `tile` of the image, all columns of a pass.
  void multiply_pixel_tile(const Source<T>& x, const T* in, const Part& panels, int64_t tile,
                           const Part& pixels, int64_t out) {
    Pixel at[Shape::mr];
    for (int i = 0; i < Shape::mr; ++i)
      at[i] = {(tile + i) / g_.cols * g_.row_step, (tile + i) % g_.cols * g_.col_step};
    PixelList<T> list{pixel_segments_, 0, {}, zeros_, nullptr};
    for (int64_t i = 0; i < pixels.size; ++i) {
      const Pixel& p = at[pixels.begin + i];
      list.pixels[i] = in + p.row * x.row + p.col * x.col;
    }
    const bool first = channels_.begin == 0, last = channels_.begin + channels_.size == g_.channels;
    for (int64_t block = 0; block < plan_.tap_blocks; ++block) {
      const bool add = !first || block > 0, end = last && block + 1 == plan_.tap_blocks;
      list.count = list_pixel_segments(x, at, static_cast<int>(pixels.begin), block);
      if (list.count == 0 && add && !end) continue;
      for (int64_t p = 0; p < panels.size; ++p)
        multiply_tile(list, static_cast<int>(pixels.size), panels.begin + p, sums_ + p * Shape::nr,
                      out, add, end);
    }
  }

  // Of a block of taps; `first` is the first of the tile's pixels that the piece has.
  int64_t list_pixel_segments(const Source<T>& x, const Pixel* pixels, int first, int64_t block) {
    SegmentWriter<PixelSegment> list{pixel_segments_};
    const int64_t begin = block * plan_.taps_at_once;
    for (int64_t i = begin; i < least(begin + plan_.taps_at_once, g_.tap_count); ++i) {
      const Tap& tap = g_.taps[i];
      const uint32_t outside = pixels_outside<Shape::mr>(g_, pixels, tap);
      if (outside == (1u << Shape::mr) - 1) continue;
      const int64_t at = tap.row * x.row + tap.col * x.col;
      add_tap(list, i, [&](const Part& piece, int64_t b) -> PixelSegment {
        return {at + piece.begin, b, piece.size, outside >> first, false};
      });
    }
    return list.end();
  }

  // The pixels of a tile, all columns of a pass. `out_row` counts elements of y.
  void multiply_pixels(const Source<T>& x, const T* in, const Part& panels, int64_t row,
                       int64_t col_part, int64_t out_row) {
    const Part cols = part(g_.cols, plan_.col_parts, col_part);
    const int64_t out = out_row + cols.begin * g_.y_col;
    const bool first = channels_.begin == 0, last = channels_.begin + channels_.size == g_.channels;
    Ahead<T> ahead = next_rows(x, in, row, cols, plan_.tap_blocks * panels.size);
    for (int64_t block = 0; block < plan_.tap_blocks; ++block) {
      const bool add = !first || block > 0, end = last && block + 1 == plan_.tap_blocks;
      SegmentList<T> list = segments_of(x, in, row, col_part, block);
      list.ahead_step = ahead.step();
      if (list.count == 0 && add && !end) continue;
      for (int64_t p = 0; p < panels.size; ++p) {
        list.ahead = ahead.next();
        multiply_tile(list, static_cast<int>(cols.size), panels.begin + p, sums_ + p * Shape::nr,
                      out, add, end);
      }
    }
  }

  template <class List>
  void multiply_tile(List list, int height, int64_t p, T* sums, int64_t out, bool add, bool last) {
    const int64_t col = (panel_ + p) * Shape::nr;
    const int width = static_cast<int>(least<int64_t>(Shape::nr, g_.outs - col));
    T* y = g_.y + out + col;
    T* c = plan_.streams ? sums : y;
    const int64_t c_row = plan_.streams ? sums_row() : g_.y_col;
    list.panel = panel(p);
    segment_kernel<List>(height, width)(list, {c, c_row, width, add});
    if (!last || !(plan_.streams || g_.epilogue.changes_result())) return;
    const Epilogue<T> e = epilogue_of(g_, out + col, group_ * g_.outs + col);
    if (plan_.streams)
      finish_streaming(height, width, c, c_row, y, g_.y_col, e);
    else
      finish(height, width, y, g_.y_col, e);
  }

  // What the next row of tiles reads of x and this one does not; past the last row, the next
  // image's. Of several such rows, one.
  Ahead<T> next_rows(const Source<T>& x, const T* in, int64_t row, const Part& cols,
                     int64_t tiles) const {
    const int64_t next = (g_.row_begin + row) * g_.row_step + plan_.taps_reach.row_high + 1;
    const T* from = in + next * x.row + (next >= g_.in_rows ? x.image - g_.in_rows * x.row : 0);
    const int64_t pixel = x.col <= 2 * channels_.size ? x.col : 0;
    return Ahead<T>(from + cols.begin * g_.col_step * x.col, cols.size * g_.col_step * pixel, tiles,
                    least(plan_.taps_at_once, g_.tap_count) * channels_.size);
  }

  // The segments of a block of taps that reach the tile: made once for all rows of pixels from
  // which no tap leaves x, since these differ by where the row starts alone.
  SegmentList<T> segments_of(const Source<T>& x, const T* in, int64_t row, int64_t col_part,
                             int64_t block) {
    const int64_t in_row = (g_.row_begin + row) * g_.row_step;
    const bool inside =
        in_row + plan_.taps_reach.row_low >= 0 && in_row + plan_.taps_reach.row_high < g_.in_rows;
    const int64_t i = inside ? block * plan_.col_parts + col_part
                             : plan_.tap_blocks * plan_.col_parts;  // the last: of this row alone
    SegmentsOfRow& list = lists_[i];
    Segment<T>* segments = segments_ + i * plan_.segments_most;
    const T* at = in + in_row * x.row;
    if (!inside || !list.row) list = {at, list_segments(x, at, in_row, col_part, block, segments)};
    return {segments, list.count, at - list.row, g_.col_step * x.col, 1, nullptr, nullptr, 0};
  }

  void forget_lists() {
    for (int64_t i = 0; i < plan_.tap_blocks * plan_.col_parts; ++i) lists_[i].row = nullptr;
  }

  // `at` is where row `in_row` of x starts.
  int64_t list_segments(const Source<T>& x, const T* at, int64_t in_row, int64_t col_part,
                        int64_t block, Segment<T>* segments) const {
    SegmentWriter<Segment<T>> list{segments};
    const Part cols = part(g_.cols, plan_.col_parts, col_part);
    const int64_t begin = block * plan_.taps_at_once;
    for (int64_t i = begin; i < least(begin + plan_.taps_at_once, g_.tap_count); ++i) {
      const Tap& tap = g_.taps[i];
      if (in_row + tap.row < 0 || in_row + tap.row >= g_.in_rows) continue;
      const Clip lost = plan_.margins ? Clip::none : clip(g_, cols, tap);
      if (lost == Clip::all) continue;
      const int64_t in_col = plan_.extent.left + cols.begin * g_.col_step + tap.col;
      const T* const from = at + tap.row * x.row + in_col * x.col;
      const Edge edge = lost == Clip::first  ? Edge::no_first
                        : lost == Clip::last ? Edge::no_last
                                             : Edge::none;
      add_tap(list, i, [&](const Part& piece, int64_t b) -> Segment<T> {
        return {from + piece.begin, b, piece.size, edge, false};
      });
    }
    return list.end();
  }

  // Segments of one tile as they are listed.
  template <class S>
  struct SegmentWriter {
    S* segments;
    int64_t count = 0, chain = 0;  // of the chain that goes on: its steps

    // The last one ends a chain; gives their count.
    int64_t end() {
      if (count > 0) segments[count - 1].flush = true;
      chain = 0;
      return count;
    }
  };

  // The channels at hand under tap `i`, in pieces no longer than a chain, of which as many make one
  // as it holds; segment(piece, where its B begins) is one.
  template <class S, class Make>
  void add_tap(SegmentWriter<S>& list, int64_t i, Make segment) const {
    const int64_t pieces = ceil_div(channels_.size, plan_.chain);
    for (int64_t p = 0; p < pieces; ++p) {
      const Part piece = part(channels_.size, pieces, p);
      if (list.chain + piece.size > plan_.chain) list.end();
      list.chain += piece.size;
      const S next = segment(piece, (i * channels_.size + piece.begin) * Shape::nr);
      if (list.count > 0 && continues(list.segments[list.count - 1], next))
        list.segments[list.count - 1].k += next.k;
      else
        list.segments[list.count++] = next;
    }
  }

  // Where a pixel's channels end and the next pixel's begin beside them, a row of taps is one run.
  static bool continues(const Segment<T>& s, const Segment<T>& next) {
    return !s.flush && s.edge == Edge::none && next.edge == Edge::none && s.a + s.k == next.a &&
           s.b + s.k * Shape::nr == next.b;
  }
  // The pixels beside these differ from one to the next.
  static bool continues(const PixelSegment&, const PixelSegment&) { return false; }

  struct SegmentsOfRow {
    const T* row;  // of x, that they are for; null: not made yet
    int64_t count;
  };

  const Correlation<T>& g_;
  const CorrelationPlan<T> plan_;
  Arena arena_;
  // Of a row inside of x, for each block of taps and part of the columns; and of one other row.
  SegmentsOfRow* lists_;
  Segment<T>* segments_;
  PixelSegment* pixel_segments_;
  T* zeros_;
  int32_t* slots_;
  T *weights_, *copy_, *sums_;
  int64_t group_ = 0, panel_ = 0;
  Part channels_ = {};
};

template <class T>
bool blocked_correlation_suits(const Correlation<T>&) {
  return true;
}
template <class T>
size_t blocked_correlation_workspace(const Correlation<T>& g) {
  return BlockedCorrelation<T>(g, nullptr).workspace_bytes();
}
template <class T>
void blocked_correlation(const Correlation<T>& g, void* workspace) {
  BlockedCorrelation<T>(g, workspace).run();
}

}  // namespace tilework::TW_ISA
