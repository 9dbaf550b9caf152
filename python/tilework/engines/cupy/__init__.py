"""The cupy engine: the contract over the namespace of its arrays, CuPy's or another's that has
NumPy's names. It serves what has no kernel, and is what kernels are held to.
"""

from tilework.engines.cupy.attention import (
    attention_backward,
    attention_forward,
    varlen_attention_backward,
    varlen_attention_forward,
)
from tilework.engines.cupy.conv import (
    PackedConvWeight,
    conv_backward,
    conv_forward,
    conv_transpose_backward,
    conv_transpose_forward,
    pack_conv_weight,
)
from tilework.engines.cupy.copy import (
    concatenate,
    copy,
    expand,
    pad,
    pad_backward,
    stack,
)
from tilework.engines.cupy.embedding import (
    embedding_bag_backward,
    embedding_bag_forward,
    embedding_bag_weights_backward,
    index_add,
    segment_max,
    segment_sum,
)
from tilework.engines.cupy.gated import (
    gated_backward,
    gated_forward,
)
from tilework.engines.cupy.gemm import (
    PackedWeight,
    linear_backward,
    linear_forward,
    matmul,
    pack_weight,
)
from tilework.engines.cupy.index import (
    gather,
    index_copy,
    index_select,
    scatter,
    scatter_add,
    scatter_reduce,
)
from tilework.engines.cupy.interpolate import (
    interpolate_backward,
    interpolate_forward,
)
from tilework.engines.cupy.loss import (
    cross_entropy_backward,
    cross_entropy_forward,
    distance_backward,
    distance_forward,
)
from tilework.engines.cupy.mask import (
    masked_scatter,
    masked_select,
    nonzero,
    where,
)
from tilework.engines.cupy.norm import (
    batch_norm_backward,
    batch_norm_forward,
    norm_rows_backward,
    norm_rows_forward,
)
from tilework.engines.cupy.optim import (
    adam_step,
    scale_,
    sgd_step,
    squares_of,
)
from tilework.engines.cupy.order import (
    sort,
    topk,
)
from tilework.engines.cupy.pointwise import (
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
from tilework.engines.cupy.pool import (
    pool_average_backward,
    pool_average_forward,
    pool_max_backward,
    pool_max_forward,
)
from tilework.engines.cupy.random import (
    normal,
    random_bits,
    uniform,
)
from tilework.engines.cupy.recurrent import (
    recurrent_backward,
    recurrent_forward,
)
from tilework.engines.cupy.reduce import (
    cumsum,
    max,
    mean,
    min,
    spread,
    sum,
    sum_to_shape,
)
from tilework.engines.cupy.sequence import (
    ctc_backward,
    ctc_forward,
)
from tilework.engines.cupy.softmax import (
    softmax_backward,
    softmax_forward,
)

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
