#include "bindings/array.h"

namespace tilework {

void bind_reduce(py::module_&) {}

}  // namespace tilework
