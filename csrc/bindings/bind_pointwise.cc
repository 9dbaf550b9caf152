#include "bindings/array.h"

namespace tilework {

void bind_pointwise(py::module_&) {}

}  // namespace tilework
