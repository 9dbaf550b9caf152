#include "kernels/random/random_body.h"
