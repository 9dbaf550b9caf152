// Copies, with a layout that the caller chooses.
#include "bindings/array.h"
#include "bindings/checks.h"

namespace tilework {
namespace {

py::object copied(py::handle array, bool keep_layout) {
  const ArrayView x = view(array, "copy", "x");
  if (x.dtype == DType::other)
    throw py::type_error("[copy] expected `x` of a dtype that tilework has; got another: convert it");
  if (x.ndim > kMaxDims)
    refuse("copy", "expected at most 32 axes; got " + std::to_string(x.ndim));
  const py::object result =
      keep_layout ? new_array_like(x) : new_array(x.dtype, x.ndim, x.shape);
  copy_into(view_own(result), x);
  return result;
}

}  // namespace

void bind_copy(py::module_& m) {
  m.def("copy", &copied, py::arg("x"),
        py::arg("keep_layout"));
}

}  // namespace tilework
