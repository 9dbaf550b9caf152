#include "kernels/pool/pool_body.h"
