#include "kernels/attention/attention_body.h"
