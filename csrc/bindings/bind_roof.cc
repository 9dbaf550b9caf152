#include "bindings/array.h"
#include "kernels/roof/roof.h"

namespace tilework {

namespace {

template <double (*measure)()>
double unlocked() {
  const GilRelease release(1e9);
  return measure();
}

}  // namespace

void bind_roof(py::module_& m) {
  m.def("roof_flops_float32", &unlocked<roof_flops_float32>);
  m.def("roof_flops_float64", &unlocked<roof_flops_float64>);
  m.def("roof_bandwidth", &unlocked<roof_bandwidth>);
}

}  // namespace tilework
