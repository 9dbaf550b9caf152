#include "kernels/tile/epilogue_instances.h"
