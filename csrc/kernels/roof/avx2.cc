#include "kernels/roof/roof_body.h"
