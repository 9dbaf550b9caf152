#include <pybind11/pybind11.h>

#include "bindings/array.h"
#include "kernels/roof/roof.h"

namespace tilework {

void bind_roof(py::module_& m) {
  m.def("roof_flops_float32", &roof_flops_float32, py::call_guard<py::gil_scoped_release>());
  m.def("roof_flops_float64", &roof_flops_float64, py::call_guard<py::gil_scoped_release>());
  m.def("roof_bandwidth", &roof_bandwidth, py::call_guard<py::gil_scoped_release>());
}

}  // namespace tilework
