#include "kernels/recurrent/recurrent_body.h"
