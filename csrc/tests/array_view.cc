// The view of an array and the checks on it, by themselves: no NumPy, no Python.
#include "base/array_checks.h"

#if defined(NPY_NO_DEPRECATED_API) || defined(PY_VERSION_HEX) || defined(PYBIND11_VERSION_MAJOR)
#error "base/array_checks.h brings NumPy or Python along"
#endif

#include <cstring>
#include <vector>

#include "tests/check.h"

using namespace tilework;

namespace {

// A view with shape and strides of its own, as __cuda_array_interface__ gives them.
struct Made {
  std::vector<intptr_t> shape, strides;
  ArrayView v;
  Made(void* data, DType dtype, std::vector<intptr_t> lengths, std::vector<intptr_t> steps,
       bool writeable = true)
      : shape(std::move(lengths)), strides(std::move(steps)) {
    v = strided_view(nullptr, data, dtype, static_cast<int>(shape.size()), shape.data(),
                     strides.data(), writeable);
  }
};

float g_memory[64];

template <class Error, class Check>
void refuses(const char* said, Check check) {
  try {
    check();
  } catch (const Error& e) {
    CHECK(std::strstr(e.what(), said));
    return;
  }
  CHECK(!"refused");
}

void views_know_their_order() {
  const Made c(g_memory, DType::float32, {2, 3, 4}, {48, 16, 4});
  CHECK(c.v.c_contiguous() && c.v.size() == 24 && c.v.itemsize() == 4 && c.v.writeable());
  CHECK(c.v.as<float>() == g_memory && is_dense(c.v));
  const Made turned(g_memory, DType::float32, {4, 3, 2}, {4, 16, 48});
  CHECK(!turned.v.c_contiguous() && is_dense(turned.v) && !same_layout(c.v, turned.v));
  const Made gaps(g_memory, DType::float32, {2, 3}, {32, 8}),
      twice(g_memory, DType::float32, {2, 3}, {0, 4});
  CHECK(!is_dense(gaps.v) && !is_dense(twice.v));
  CHECK(Made(g_memory, DType::float32, {1, 3, 1}, {7, 4, 0}).v.c_contiguous());  // steps nowhere
  CHECK(Made(g_memory, DType::float32, {0, 3}, {5, 5}).v.c_contiguous());
  const Made number(g_memory, DType::float64, {}, {}, false);
  CHECK(number.v.size() == 1 && number.v.c_contiguous() && !number.v.writeable());
}

void layouts_compare() {
  const Made image(g_memory, DType::float32, {1, 3, 2, 2}, {48, 4, 24, 12});
  CHECK(is_channels_last(image.v) && is_dense(image.v));
  CHECK(!is_channels_last(Made(g_memory, DType::float32, {1, 3, 2, 2}, {48, 16, 8, 4}).v));
  const Made wide(g_memory, DType::float64, {1, 3, 2, 2}, {96, 8, 48, 24});
  CHECK(same_layout(image.v, wide.v));  // by elements, not by bytes
  CHECK(!same_shape(image.v, Made(g_memory, DType::float32, {3, 2, 2}, {16, 8, 4}).v));
}

void overlaps_are_seen() {
  const Made first(g_memory, DType::float32, {4}, {4}),
      next(g_memory + 4, DType::float32, {4}, {4});
  CHECK(memory_overlaps(first.v, first.v) && !memory_overlaps(first.v, next.v));
  const Made back(g_memory + 5, DType::float32, {3}, {-4});
  CHECK(memory_overlaps(first.v, back.v) && memory_overlaps(back.v, next.v));
  CHECK(!memory_overlaps(first.v, Made(g_memory, DType::float32, {0}, {4}).v));
}

void checks_say_what_is_wrong() {
  const Made a(g_memory, DType::float32, {2, 3}, {12, 4}),
      b(g_memory, DType::int64, {3}, {8}, false);
  CHECK(shape_text(a.v) == "(2, 3)" && shape_text(b.v) == "(3,)");
  refuses<WrongType>("[op] expected `b` of the dtype of `a`, float32; got int64",
                     [&] { require_dtype_of(b.v, a.v, "op", "b", "a"); });
  refuses<std::invalid_argument>("[op] expected `b` of the shape of `a`, (2, 3); got (3,)",
                                 [&] { require_shape_of(b.v, a.v, "op", "b", "a"); });
  refuses<std::invalid_argument>("read-only", [&] { require_writeable(b.v, "op", "b"); });
  const Made many(g_memory, DType::float32, std::vector<intptr_t>(33, 1),
                  std::vector<intptr_t>(33, 4));
  refuses<std::invalid_argument>("at most 32 axes", [&] { require_few_axes(many.v, "op"); });
  CHECK(!is_dense(
      Made(g_memory, DType::float32, std::vector<intptr_t>(33, 2), std::vector<intptr_t>(33, 4))
          .v));
}

}  // namespace

int main() {
  views_know_their_order();
  layouts_compare();
  overlaps_are_seen();
  checks_say_what_is_wrong();
  std::printf("array_view: views and their checks stand alone\n");
}
