#include "kernels/pointwise/pointwise_body.h"
