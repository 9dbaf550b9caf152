#include "bindings/array.h"

namespace tilework {

void bind_random(py::module_&) {}

}  // namespace tilework
