// CUDA's vector types, by NVIDIA's own headers, with the marks of device code emptied.
#pragma once

#include <vector_functions.h>
#include <vector_types.h>

#undef __launch_bounds__
#define __launch_bounds__(...)
