// Groups of rows: sums of rows by an index, bags of embeddings, segments.
#include <algorithm>
#include <string>
#include <vector>

#include "bindings/indices.h"
#include "kernels/embedding/embedding.h"

namespace tilework {
namespace {

void require_length(int64_t rows, const char* op) {
  if (rows < 0) refuse(op, "expected 0 rows and more; got " + std::to_string(rows));
}

double rows_cost_ns(const ArrayView& x, const ArrayView& y) {
  return 0.1 * static_cast<double>(x.size() * x.itemsize() + y.size() * y.itemsize());
}

// An array (rows, columns), in C order.
py::object as_rows(const ArrayView& given, int64_t rows, const char* op, const char* argument) {
  if (given.ndim != 2 || (rows >= 0 && given.shape[0] != rows))
    refuse(op, std::string("expected `") + argument + "` (" +
                   (rows >= 0 ? std::to_string(rows) : "rows") + ", columns); got " +
                   shape_text(given));
  return as_contiguous(given);
}

py::object slices_added(py::handle array, int64_t at, py::handle index_array, int64_t rows,
                        py::handle start_array, bool wraps) {
  constexpr const char* op = "index_add";
  const ArrayView given = view_known(array, op, "x");
  const int axis = axis_of(given, at, op);
  const RowIndex index(index_array, op);
  require_length(rows, op);
  if (given.shape[axis] != index.size())
    refuse(op, "expected an index of a number a slice of x; got " + shape_text(index.of) +
                   " for x " + shape_text(given));
  npy_intp size[kMaxDims];
  std::copy_n(given.shape, given.ndim, size);
  size[axis] = rows;
  py::object start;
  if (!start_array.is_none()) {
    const ArrayView before = view(start_array, op, "start");
    require_dtype_of(before, given, op, "start", "x");
    if (before.ndim != given.ndim || !std::equal(size, size + given.ndim, before.shape))
      refuse(op, "expected `start` of the result's shape; got " + shape_text(before));
    start = as_contiguous(before);
  }
  const py::object held = as_contiguous(given);
  py::object result = new_array(given.dtype, given.ndim, size);
  const ArrayView x = view_own(held), y = view_own(result);
  const Lines lines{product_of(size, 0, axis), rows, index.size(),
                    product_of(size, axis + 1, given.ndim)};
  const Index checked = index.below(rows, wraps);
  if (y.size() == 0) {  // however long its other axes are
    if (first_outside(checked, lines.m) >= 0) refuse_index(checked, lines.m, op);
    return result;
  }
  bool inside = true;
  dispatch_gradient(x, op, [&]<class T>() {
    const T* begin = start ? view_own(start).as<T>() : nullptr;
    GilRelease unlocked(rows_cost_ns(x, y));
    inside = lines.inner == 1 ? scatter_reduce(lines, Combine::sum, true, begin, x.as<T>(), checked,
                                               true, y.as<T>())
                              : add_rows(lines, begin, x.as<T>(), checked, -1, false, y.as<T>());
  });
  if (!inside) refuse_index(checked, lines.m, op);
  return result;
}

py::object segments_summed(py::handle array, py::handle index_array, int64_t rows, int64_t skipped,
                           bool mean) {
  constexpr const char* op = "segment_sum";
  const RowIndex index(index_array, op);
  require_length(rows, op);
  const ArrayView given = view(array, op, "x");
  const py::object held = as_rows(given, index.size(), op, "x");
  const npy_intp size[] = {rows, given.shape[1]};
  py::object result = new_array(given.dtype, 2, size);
  const ArrayView x = view_own(held), y = view_own(result);
  const Index checked = index.below(rows);
  bool inside = true;
  dispatch_gradient(x, op, [&]<class T>() {
    GilRelease unlocked(rows_cost_ns(x, y));
    inside = add_rows({1, rows, index.size(), size[1]}, static_cast<const T*>(nullptr), x.as<T>(),
                      checked, skipped, mean, y.as<T>());
  });
  if (!inside) refuse_index(checked, index.size(), op);
  return result;
}

py::tuple segments_largest(py::handle array, py::handle index_array, int64_t count) {
  constexpr const char* op = "segment_max";
  const RowIndex index(index_array, op);
  require_length(count, op);
  const ArrayView given = view(array, op, "x");
  const py::object held = as_rows(given, index.size(), op, "x");
  const npy_intp size[] = {count, given.shape[1]};
  py::object values = new_array(given.dtype, 2, size), from = new_array(DType::int64, 2, size);
  const ArrayView x = view_own(held), y = view_own(values), places = view_own(from);
  const Index checked = index.below(count);
  bool inside = true;
  dispatch_gradient(x, op, [&]<class T>() {
    GilRelease unlocked(rows_cost_ns(x, y));
    inside =
        largest_rows(index.size(), size[1], x.as<T>(), checked, y.as<T>(), places.as<int64_t>());
  });
  if (!inside) refuse_index(checked, index.size(), op);
  return py::make_tuple(std::move(values), std::move(from));
}

// Bags of an index. Where they begin is read once, before it is checked: a thread may write there.
struct BagsInput {
  RowIndex index;
  std::vector<int64_t> starts;
  Bags bags;

  BagsInput(py::handle index_array, py::handle offsets, int64_t rows, int64_t padding,
            const char* op)
      : index(index_array, op) {
    const ArrayView given = view(offsets, op, "offsets");
    if (given.ndim != 1) refuse(op, "expected offsets (bags,); got " + shape_text(given));
    require_index(given, op, "offsets");
    starts = copied_numbers(given);
    bags = {given.shape[0], index.size(), starts.data(), index.below(rows), padding};
    if (bags.count == 0) bags.m = 0;
    if (!bags_are_whole(bags))
      refuse(op, "expected offsets that begin with 0, do not fall and end within the index");
  }
  int64_t count() const { return bags.count; }
};

// A weight for each entry, or None.
py::object weights_of(py::handle array, const BagsInput& in, const ArrayView& table,
                      const char* op) {
  if (array.is_none()) return py::object();
  const ArrayView given = view(array, op, "weights");
  require_dtype_of(given, table, op, "weights", "x");
  require_shape_of(given, in.index.of, op, "weights", "index");
  return as_contiguous(given);
}

constexpr const char* kBagModes[] = {"sum", "mean", "max"};

py::tuple bags_forward(py::handle table_array, py::handle index_array, py::handle offsets,
                       py::handle weights_array, py::handle mode_name, int64_t padding) {
  constexpr const char* op = "embedding_bag";
  const auto mode = static_cast<BagMode>(word_among(mode_name, kBagModes, op, "mode"));
  const ArrayView given = view(table_array, op, "table");
  const py::object held = as_rows(given, -1, op, "table");
  const BagsInput in(index_array, offsets, given.shape[0], padding, op);
  const py::object weights = weights_of(weights_array, in, given, op);
  if (weights && mode != BagMode::sum) refuse(op, "expected weights with the mode sum alone");
  const npy_intp size[] = {in.count(), given.shape[1]};
  py::object result = new_array(given.dtype, 2, size), from = py::none();
  if (mode == BagMode::max) from = new_array(DType::int64, 2, size);
  const ArrayView table = view_own(held), y = view_own(result);
  auto* places = data_of<int64_t>(from);
  bool inside = true;
  dispatch_gradient(table, op, [&]<class T>() {
    const T* w = weights ? view_own(weights).as<T>() : nullptr;
    GilRelease unlocked(0.1 * static_cast<double>(in.bags.m * size[1] * table.itemsize()));
    inside = bag_forward(in.bags, mode, size[1], table.as<T>(), w, y.as<T>(), places);
  });
  if (!inside) refuse_index(in.bags.index, in.bags.m, op);
  return py::make_tuple(std::move(result), std::move(from));
}

py::object bags_backward(py::handle grad_array, py::handle index_array, py::handle offsets,
                         py::handle weights_array, bool mean, int64_t rows, int64_t padding,
                         bool by_frequency) {
  constexpr const char* op = "embedding_bag_backward";
  require_length(rows, op);
  const BagsInput in(index_array, offsets, rows, padding, op);
  const ArrayView given = view(grad_array, op, "grad");
  const py::object held = as_rows(given, in.count(), op, "grad");
  const py::object weights = weights_of(weights_array, in, given, op);
  const npy_intp size[] = {rows, given.shape[1]};
  py::object result = new_array(given.dtype, 2, size);
  const ArrayView grad = view_own(held), y = view_own(result);
  bool inside = true;
  dispatch_gradient(grad, op, [&]<class T>() {
    const T* w = weights ? view_own(weights).as<T>() : nullptr;
    GilRelease unlocked(rows_cost_ns(grad, y));
    inside = bag_backward(in.bags, mean ? BagMode::mean : BagMode::sum, size[1], grad.as<T>(), w,
                          by_frequency, y.as<T>());
  });
  if (!inside) refuse_index(in.bags.index, in.bags.m, op);
  return result;
}

py::object bags_weights_backward(py::handle grad_array, py::handle table_array,
                                 py::handle index_array, py::handle offsets, int64_t padding) {
  constexpr const char* op = "embedding_bag_weights_backward";
  const ArrayView of_table = view(table_array, op, "table"), given = view(grad_array, op, "grad");
  const py::object table_held = as_rows(of_table, -1, op, "table");
  const BagsInput in(index_array, offsets, of_table.shape[0], padding, op);
  const py::object held = as_rows(given, in.count(), op, "grad");
  require_dtype_of(given, of_table, op, "grad", "table");
  if (given.shape[1] != of_table.shape[1])
    refuse(op, "expected as many columns as the table has; got " + shape_text(given));
  const npy_intp size[] = {in.bags.m};
  py::object result = new_array(given.dtype, 1, size);
  const ArrayView grad = view_own(held), table = view_own(table_held), y = view_own(result);
  bool inside = true;
  dispatch_gradient(grad, op, [&]<class T>() {
    GilRelease unlocked(0.2 * static_cast<double>(in.bags.m * table.shape[1]));
    inside = bag_weights_backward(in.bags, table.shape[1], grad.as<T>(), table.as<T>(), y.as<T>());
  });
  if (!inside) refuse_index(in.bags.index, in.bags.m, op);
  return result;
}

}  // namespace

void bind_embedding(py::module_& m) {
  m.def("index_add", &slices_added, py::arg("x"), py::arg("axis"), py::arg("index"),
        py::arg("rows"), py::arg("start"), py::arg("wraps"));
  m.def("segment_sum", &segments_summed, py::arg("x"), py::arg("index"), py::arg("count"),
        py::arg("skipped"), py::arg("mean"));
  m.def("segment_max", &segments_largest, py::arg("x"), py::arg("index"), py::arg("count"));
  m.def("embedding_bag_forward", &bags_forward, py::arg("table"), py::arg("index"),
        py::arg("offsets"), py::arg("weights"), py::arg("mode"), py::arg("padding"));
  m.def("embedding_bag_backward", &bags_backward, py::arg("grad"), py::arg("index"),
        py::arg("offsets"), py::arg("weights"), py::arg("mean"), py::arg("rows"),
        py::arg("padding"), py::arg("by_frequency"));
  m.def("embedding_bag_weights_backward", &bags_weights_backward, py::arg("grad"), py::arg("table"),
        py::arg("index"), py::arg("offsets"), py::arg("padding"));
}

}  // namespace tilework
