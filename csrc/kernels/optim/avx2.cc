#include "kernels/optim/optim_body.h"
