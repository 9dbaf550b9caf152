#include "bindings/array.h"

namespace tilework {

void bind_loss(py::module_&) {}

}  // namespace tilework
