#include "kernels/interpolate/interpolate_body.h"
