#include "bindings/array.h"

namespace tilework {

void bind_optim(py::module_&) {}

}  // namespace tilework
