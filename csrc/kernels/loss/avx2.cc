#include "kernels/loss/loss_body.h"
