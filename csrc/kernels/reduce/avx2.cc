#include "kernels/reduce/reduce_body.h"
