"""The fallback engine: NumPy where it does an op in one pass or by BLAS, Numba for the rest.

It serves NumPy arrays where the compiled extension is missing, under the engine contract of
`tilework/_native.pyi`. Importing it imports Numba.
"""

from tilework.engines.numba.attention import (
    attention_backward,
    attention_forward,
    varlen_attention_backward,
    varlen_attention_forward,
)
from tilework.engines.numba.conv import (
    PackedConvWeight,
    conv_backward,
    conv_forward,
    conv_transpose_backward,
    conv_transpose_forward,
    pack_conv_weight,
)
from tilework.engines.numba.copy import concatenate, copy, expand, pad, pad_backward, stack
from tilework.engines.numba.embedding import (
    embedding_bag_backward,
    embedding_bag_forward,
    embedding_bag_weights_backward,
    index_add,
    segment_max,
    segment_sum,
)
from tilework.engines.numba.gated import gated_backward, gated_forward
from tilework.engines.numba.gemm import (
    PackedWeight,
    linear_backward,
    linear_forward,
    matmul,
    pack_weight,
)
from tilework.engines.numba.index import (
    gather,
    index_copy,
    index_select,
    scatter,
    scatter_add,
    scatter_reduce,
)
from tilework.engines.numba.interpolate import interpolate_backward, interpolate_forward
from tilework.engines.numba.loss import (
    cross_entropy_backward,
    cross_entropy_forward,
    distance_backward,
    distance_forward,
)
from tilework.engines.numba.mask import masked_scatter, masked_select, nonzero, where
from tilework.engines.numba.norm import (
    batch_norm_backward,
    batch_norm_forward,
    norm_rows_backward,
    norm_rows_forward,
)
from tilework.engines.numba.optim import adam_step, scale_, sgd_step, squares_of
from tilework.engines.numba.order import sort, topk
from tilework.engines.numba.pointwise import (
    BINARY_OPS,
    UNARY_OPS,
    accumulate_,
    bias_activation_backward,
    bias_activation_forward,
    binary_forward,
    clamp_backward,
    clamp_forward,
    dropout_backward,
    dropout_forward,
    narrow,
    unary_backward,
    unary_forward,
    widen,
)
from tilework.engines.numba.pool import (
    pool_average_backward,
    pool_average_forward,
    pool_max_backward,
    pool_max_forward,
)
from tilework.engines.numba.random import normal, random_bits, uniform
from tilework.engines.numba.recurrent import recurrent_backward, recurrent_forward
from tilework.engines.numba.reduce import cumsum, max, mean, min, spread, sum, sum_to_shape
from tilework.engines.numba.sequence import ctc_backward, ctc_forward
from tilework.engines.numba.softmax import softmax_backward, softmax_forward

__all__ = [
    "BINARY_OPS",
    "UNARY_OPS",
    "PackedConvWeight",
    "PackedWeight",
    "accumulate_",
    "adam_step",
    "attention_backward",
    "attention_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "bias_activation_backward",
    "bias_activation_forward",
    "binary_forward",
    "clamp_backward",
    "clamp_forward",
    "concatenate",
    "conv_backward",
    "conv_forward",
    "conv_transpose_backward",
    "conv_transpose_forward",
    "copy",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "ctc_backward",
    "ctc_forward",
    "cumsum",
    "distance_backward",
    "distance_forward",
    "dropout_backward",
    "dropout_forward",
    "embedding_bag_backward",
    "embedding_bag_forward",
    "embedding_bag_weights_backward",
    "expand",
    "gated_backward",
    "gated_forward",
    "gather",
    "index_add",
    "index_copy",
    "index_select",
    "interpolate_backward",
    "interpolate_forward",
    "linear_backward",
    "linear_forward",
    "masked_scatter",
    "masked_select",
    "matmul",
    "max",
    "mean",
    "min",
    "narrow",
    "nonzero",
    "norm_rows_backward",
    "norm_rows_forward",
    "normal",
    "pack_conv_weight",
    "pack_weight",
    "pad",
    "pad_backward",
    "pool_average_backward",
    "pool_average_forward",
    "pool_max_backward",
    "pool_max_forward",
    "random_bits",
    "recurrent_backward",
    "recurrent_forward",
    "scale_",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "segment_max",
    "segment_sum",
    "sgd_step",
    "softmax_backward",
    "softmax_forward",
    "sort",
    "spread",
    "squares_of",
    "stack",
    "sum",
    "sum_to_shape",
    "topk",
    "unary_backward",
    "unary_forward",
    "uniform",
    "varlen_attention_backward",
    "varlen_attention_forward",
    "where",
    "widen",
]
