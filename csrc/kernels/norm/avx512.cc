#include "kernels/norm/norm_body.h"
