#include "bindings/array.h"

namespace tilework {

void bind_gemm(py::module_&) {}

}  // namespace tilework
