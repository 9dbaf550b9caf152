#include "kernels/tile/instances.h"
