#include "kernels/softmax/softmax_body.h"
