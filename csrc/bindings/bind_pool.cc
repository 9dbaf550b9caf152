#include <array>
#include <string>
#include <vector>

#include "bindings/planes.h"
#include "kernels/pool/pool.h"

namespace tilework {
namespace {

// An axis' windows: a table with a row for each (start, step, taps, size), or with a row for each
// run of them (count and stride besides).
struct Windows {
  py::object held;
  bool runs;
  int64_t rows, count = 0;

  Windows(py::handle array, int64_t in, const char* op, const char* argument) {
    const ArrayView given = view(array, op, argument);
    runs = given.ndim == 2 && given.shape[1] == 6;
    if (given.dtype != DType::int64 || given.ndim != 2 || (given.shape[1] != 4 && !runs))
      refuse(op, std::string("expected `") + argument +
                     "` as int64 (outputs, 4), or (runs, 6); got " + dtype_name(given.dtype) + " " +
                     shape_text(given));
    held = as_contiguous(given);
    rows = given.shape[0];
    for (int64_t r = 0; r < rows; ++r) {
      const Window& w = runs ? as_runs()[r].first : as_windows()[r];
      int64_t reach = 0;  // from its first input to its last
      bool inside =
          w.start >= 0 && w.start <= in && w.taps >= 0 && w.taps <= in && w.step >= 1 &&
          w.size != 0 && (w.taps <= 1 || w.step <= in) &&
          (w.taps == 0 || (w.start < in && !__builtin_mul_overflow(w.taps - 1, w.step, &reach) &&
                           reach <= in - 1 - w.start));
      if (runs) inside = inside && repeats_inside(as_runs()[r], in);
      if (!inside)
        refuse(op, std::string("expected `") + argument + "` within " + std::to_string(in) +
                       " inputs; got window " + std::to_string(r) + " outside");
      count += runs ? as_runs()[r].count : 1;
    }
  }
  const Window* as_windows() const { return view_own(held).as<Window>(); }
  const WindowRun* as_runs() const { return view_own(held).as<WindowRun>(); }

  // One by one.
  std::vector<Window> expanded() const {
    std::vector<Window> windows;
    windows.reserve(static_cast<size_t>(count));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < as_runs()[r].count; ++i) {
        windows.push_back(as_runs()[r].first);
        windows.back().start += i * as_runs()[r].stride;
      }
    return windows;
  }

 private:
  // The last of a run, too; an axis has no more windows than it could hold side by side.
  static bool repeats_inside(const WindowRun& run, int64_t in) {
    const int64_t reach = run.first.taps == 0 ? 0 : (run.first.taps - 1) * run.first.step;
    return run.count >= 1 && run.stride >= 0 && run.count - 1 <= in && run.stride <= in &&
           (run.count == 1 || run.stride == 0 ||
            run.count - 1 <= (in - 1 - run.first.start - reach) / run.stride);
  }
};

// (N, C, H, W) as memory has it, and its windows.
struct Planes {
  npy_intp shape[4];
  Windows row_windows, col_windows;
  std::vector<Window> row_table, col_table;  // where they had to be made of runs
  PoolShape pool;

  Planes(const npy_intp* nchw, bool channels_last, py::handle rows, py::handle cols, const char* op,
         bool by_runs)
      : shape{nchw[0], nchw[1], nchw[2], nchw[3]},
        row_windows(rows, nchw[2], op, "rows"),
        col_windows(cols, nchw[3], op, "cols") {
    pool = {};
    pool.outer = channels_last ? shape[0] : shape[0] * shape[1];
    pool.height = shape[2];
    pool.width = shape[3];
    pool.inner = channels_last ? shape[1] : 1;
    pool.out_height = row_windows.count;
    pool.out_width = col_windows.count;
    pool.rows = table_of(row_windows, row_table);
    if (col_windows.runs && by_runs && walks_runs(pool)) {
      pool.col_runs = col_windows.as_runs();
      pool.col_run_count = col_windows.rows;
    } else {
      pool.cols = table_of(col_windows, col_table);
    }
    pool.wide_positions = needs_wide_positions(pool);
  }
  Planes(const Planes&) = delete;
  Planes& operator=(const Planes&) = delete;
  DType positions() const { return pool.wide_positions ? DType::uint32 : DType::uint8; }

 private:
  static const Window* table_of(const Windows& windows, std::vector<Window>& made) {
    if (!windows.runs) return windows.as_windows();
    made = windows.expanded();
    return made.data();
  }
};

// What both forwards begin with.
struct Forward {
  const ArrayView given;
  const bool channels_last;
  const py::object held;
  const ArrayView x;
  const Planes planes;
  const npy_intp out_shape[4];

  Forward(py::handle array, py::handle rows, py::handle cols, const char* op)
      : given(view_planes(array, op, "x")),
        channels_last(!given.c_contiguous() && is_channels_last(given)),
        held(as_planes(given, channels_last)),
        x(view_own(held)),
        planes(x.shape, channels_last, rows, cols, op, true),
        out_shape{x.shape[0], x.shape[1], planes.pool.out_height, planes.pool.out_width} {}

  py::object output(DType dtype) const { return new_planes(dtype, out_shape, channels_last); }
};

py::tuple max_forward(py::handle array, py::handle rows, py::handle cols, bool save) {
  const Forward f(array, rows, cols, "pool_max_forward");
  py::object result = f.output(f.x.dtype);
  py::object saved = save ? f.output(f.planes.positions()) : py::none();
  char* const positions = save ? view_own(saved).data : nullptr;
  const ArrayView y = view_own(result);
  {
    GilRelease unlocked(pool_cost_ns(f.planes.pool, f.x.itemsize()));
    dispatch_float(f.x.dtype, [&]<class T>() {
      pool_max_forward(f.x.as<T>(), y.as<T>(), positions, f.planes.pool);
    });
  }
  return py::make_tuple(result, saved);
}

py::object average_forward(py::handle array, py::handle rows, py::handle cols) {
  const Forward f(array, rows, cols, "pool_average_forward");
  py::object result = f.output(f.x.dtype);
  const ArrayView y = view_own(result);
  GilRelease unlocked(pool_cost_ns(f.planes.pool, f.x.itemsize()));
  dispatch_float(f.x.dtype,
                 [&]<class T>() { pool_average_forward(f.x.as<T>(), y.as<T>(), f.planes.pool); });
  return result;
}

// What both backwards begin with: dx has the size (height, width) and the layout asked for.
struct Backward {
  const py::object held;
  const ArrayView grad;
  const Planes planes;

  Backward(py::handle array, py::handle rows, py::handle cols, int64_t height, int64_t width,
           bool channels_last, const char* op)
      : held(as_planes(view_planes(array, op, "grad"), channels_last)),
        grad(view_own(held)),
        planes(shape_of_input(grad, height, width, op).data(), channels_last, rows, cols, op,
               false) {
    if (grad.shape[2] != planes.pool.out_height || grad.shape[3] != planes.pool.out_width)
      refuse(op, "expected `grad` with an element for each window; got " + shape_text(grad));
  }

 private:
  static std::array<npy_intp, 4> shape_of_input(const ArrayView& grad, int64_t height,
                                                int64_t width, const char* op) {
    require_plane(height, width, op);
    return {grad.shape[0], grad.shape[1], height, width};
  }
};

py::object max_backward(py::handle grad, py::handle saved, py::handle rows, py::handle cols,
                        int64_t height, int64_t width, bool channels_last) {
  const char* op = "pool_max_backward";
  const Backward b(grad, rows, cols, height, width, channels_last, op);
  const ArrayView given = view(saved, op, "saved");
  require_shape_of(given, b.grad, op, "saved", "grad");
  if (given.dtype != b.planes.positions())
    refuse(op, std::string("expected `saved` as the forward pass gave it, of ") +
                   dtype_name(b.planes.positions()) + "; got " + dtype_name(given.dtype));
  const py::object held = as_planes(given, channels_last);
  const ArrayView positions = view_own(held);
  py::object result = new_planes(b.grad.dtype, b.planes.shape, channels_last);
  const ArrayView dx = view_own(result);
  GilRelease unlocked(pool_cost_ns(b.planes.pool, b.grad.itemsize()));
  dispatch_float(b.grad.dtype, [&]<class T>() {
    pool_max_backward(b.grad.as<T>(), positions.data, dx.as<T>(), b.planes.pool);
  });
  return result;
}

py::object average_backward(py::handle grad, py::handle rows, py::handle cols, int64_t height,
                            int64_t width, bool channels_last) {
  const Backward b(grad, rows, cols, height, width, channels_last, "pool_average_backward");
  py::object result = new_planes(b.grad.dtype, b.planes.shape, channels_last);
  const ArrayView dx = view_own(result);
  GilRelease unlocked(pool_cost_ns(b.planes.pool, b.grad.itemsize()));
  dispatch_float(b.grad.dtype, [&]<class T>() {
    pool_average_backward(b.grad.as<T>(), dx.as<T>(), b.planes.pool);
  });
  return result;
}

}  // namespace

void bind_pool(py::module_& m) {
  m.def("pool_max_forward", &max_forward, py::arg("x"), py::arg("rows"), py::arg("cols"),
        py::arg("save"));
  m.def("pool_max_backward", &max_backward, py::arg("grad"), py::arg("saved"), py::arg("rows"),
        py::arg("cols"), py::arg("height"), py::arg("width"), py::arg("channels_last"));
  m.def("pool_average_forward", &average_forward, py::arg("x"), py::arg("rows"), py::arg("cols"));
  m.def("pool_average_backward", &average_backward, py::arg("grad"), py::arg("rows"),
        py::arg("cols"), py::arg("height"), py::arg("width"), py::arg("channels_last"));
}

}  // namespace tilework
