#include "kernels/embedding/embedding_body.h"
