#include "kernels/sequence/sequence_body.h"
