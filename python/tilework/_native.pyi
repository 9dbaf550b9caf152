"""The engine contract: every engine offers these functions, with these names and arguments.

Arrays in, arrays out; shapes and dtypes are checked one floor up, in `functional`. Arrays may have
any strides; float arguments share one dtype, float32 or float64. Outputs are fresh and dense.

matmul, pack_weight, the linear and the convolution functions take bfloat16 too: computed in
float32, every result rounded once, to nearest even. Where a kernel multiplies bfloat16 by the CPU's
own instructions (the ISAs avx512bf16 and amx) denormals count as zero, going in and coming out.
"""

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

Array = NDArray[Any]
__version__: Final[str]

# --- controls of the compiled engine alone (config.py is their public face) ---
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def thread_info() -> dict[str, Any]: ...
def set_isa(name: str) -> None: ...
def active_isa() -> str: ...
def cpu_info() -> dict[str, Any]: ...
def variants() -> dict[str, list[dict[str, Any]]]: ...
def pool_stats() -> dict[str, int]: ...
def pool_trim() -> None: ...
def pool_set_limit(bytes: int) -> None: ...
def set_matmul_precision(precision: str) -> None: ...

# The routine that all convolutions are held to, or None ("" sets that).
def conv_routine() -> str | None: ...
def set_conv_routine(name: str) -> None: ...

# What tensor.py and tape.py do, slot by slot, once they have told the classes.
def tensor_classes(
    tensor: Any, plain_view: Any, storage: Any, natural: Any, next_time: Any
) -> None: ...
def fresh(array: Array, /) -> Any: ...
def new_storage() -> Any: ...
def view_of(x: Any, array: Array, /) -> Any: ...
def record(y: Any, op: Any, inputs: Any, saved: Any = None, reads: Any = (), /) -> Any: ...
def recorded(
    array: Array, storage: Any, op: Any, inputs: Any, saved: Any, reads: Any, /
) -> Any: ...

# Who serves each pass of a convolution of these shapes: (pass, variant, routine, why). Images are
# channels last, weights as layers hold them; the rest as for conv_forward.
def conv_services(
    dtype: str,
    x: list[int],
    weight: list[int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    out_size: tuple[int, int],
) -> list[tuple[str, str, str, str]]: ...

# The same of attention over (B, H, L, E) and (B, G, S, E), and the blocks, before the reason.
def attention_services(
    dtype: str, q: list[int], k: list[int], value_width: int, left: int, right: int
) -> list[tuple[str, str, str, str, str]]: ...

# The same of a recurrent layer.
def recurrent_services(
    cell: str, steps: int, batch: int, hidden: int
) -> list[tuple[str, str, str, str]]: ...

# The machine's limits, measured on num_threads() threads: operations and bytes a second.
def roof_flops_float32() -> float: ...
def roof_flops_float64() -> float: ...
def roof_bandwidth() -> float: ...

# --- gemm ---
class PackedWeight:
    """A weight (N, K) in the order the kernels read; made for one ISA and precision. It holds the
    array that it was made of, and serves calls with that very array alone."""

    @property
    def nbytes(self) -> int: ...

def pack_weight(weight: Array) -> PackedWeight: ...

# a (..., M, K) @ b (..., K, N), leading axes broadcast. With out, writes (or adds) there and
# returns it; the out of bfloat16 operands may be float32.
def matmul(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Array: ...

# activation(x @ weight.T + bias + residual); x (..., K), weight (N, K), bias (N,), residual (...,
# N).
# With save, the second result is what linear_backward needs of the activation: the output itself
# (relu,
# tanh, sigmoid), the pre-activation (gelu, gelu_tanh, silu), or None ("none").
def linear_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    residual: Array | None,
    activation: str,
    save: bool,
    packed: PackedWeight | None = None,
) -> tuple[Array, Array | None]: ...

# (dx, dweight, dbias, dz): each None where it was not asked for; dz is the gradient before the
# activation (the residual's), asked for by need_residual. The compiled engine's dweight lies as a
# dense weight does.
def linear_backward(
    grad: Array,
    x: Array,
    weight: Array,
    saved: Array | None,
    activation: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_residual: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]: ...

# --- conv ---
class PackedConvWeight:
    """A weight (O, C / groups, KH, KW), or (O, C / groups, K) for images of one row, in the order
    that the kernels read: packed at the first call that takes it, for that call's routine. It
    holds the array that it was made of, and serves calls with that very array alone."""

    @property
    def nbytes(self) -> int: ...

def pack_conv_weight(weight: Array) -> PackedConvWeight: ...

# Images x (N, C, H, W), weight (O, C / groups, KH, KW), in any strides. padding is where the first
# window starts, (top, left); outside of x everything is zero, and out_size says how many windows
# there are. y and dx have dense strides of the engine's choice; dweight is laid out as weight where
# that is dense in (O, I, KH, KW) or in (KH, KW, I, O) order. saved as for linear_forward.
def conv_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    residual: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    out_size: tuple[int, int],
    activation: str,
    save: bool,
    packed: PackedConvWeight | None = None,
) -> tuple[Array, Array | None]: ...

# (dx, dweight, dbias, dz), as linear_backward's.
def conv_backward(
    grad: Array,
    x: Array,
    weight: Array,
    saved: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    activation: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_residual: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]: ...

# The transposed twin: weight (C, O / groups, KH, KW). padding is cut from the start of the full
# output; out_size cuts its end, or extends it by what no window reaches.
def conv_transpose_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    out_size: tuple[int, int],
    activation: str,
    save: bool,
) -> tuple[Array, Array | None]: ...
def conv_transpose_backward(
    grad: Array,
    x: Array,
    weight: Array,
    saved: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    activation: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Array | None, Array | None, Array | None]: ...

# --- pointwise ---
# What unary_backward wants as `saved` for each op: "input", "output" or "none".
UNARY_OPS: Final[dict[str, str]]
BINARY_OPS: Final[tuple[str, ...]]

def unary_forward(op: str, x: Array) -> Array: ...
def unary_backward(op: str, grad: Array, saved: Array) -> Array: ...

# Broadcasts as NumPy does; either side may be a Python float, taken in the other's dtype.
def binary_forward(op: str, a: Array | float, b: Array | float) -> Array: ...

# activation(x + bias) with bias (N,) along x's last axis; saved as for linear_forward.
def bias_activation_forward(
    x: Array, bias: Array, activation: str, save: bool
) -> tuple[Array, Array | None]: ...
def bias_activation_backward(
    grad: Array, saved: Array | None, activation: str
) -> tuple[Array, Array]: ...

# An activation of the gate times the other operand; op is glu (a * sigmoid(b)), swiglu (silu(a) *
# b), geglu or geglu_tanh. Of x and other, of one shape; or, where other is None, of the halves of x
# along axis, whose gradient is one array. float32, float64 or bfloat16, which is rounded once.
def gated_forward(op: str, x: Array, other: Array | None, axis: int) -> Array: ...
def gated_backward(
    op: str, grad: Array, x: Array, other: Array | None, axis: int
) -> tuple[Array, Array | None]: ...

# Element p (in dense memory order) is kept where its Philox word >= round(p_drop * 2**32), times 1
# / (1 - p_drop).
def dropout_forward(x: Array, p: float, seed: int, call: int) -> Array: ...
def dropout_backward(grad: Array, p: float, seed: int, call: int) -> Array: ...

# min(max(x, low), high), NaN where any of the three is; and grad where low <= x <= high, else 0.
def clamp_forward(x: Array, low: float, high: float) -> Array: ...
def clamp_backward(grad: Array, x: Array, low: float, high: float) -> Array: ...
def accumulate_(destination: Array, source: Array) -> None: ...

# bfloat16 as float32; float32 as bfloat16, to nearest even, a NaN as the quiet one of its sign.
def widen(x: Array) -> Array: ...
def narrow(x: Array) -> Array: ...

# --- reduce --- (axes: non-negative, ascending; an empty tuple reduces nothing)
def sum(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array: ...
def mean(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array: ...
def max(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array: ...
def min(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array: ...

# The sum of the squared distances from the mean, over `divisor`, or the root of that; and, with all
# axes, the mean in two parts: as the dtype holds it, and what that leaves; in float64 where squares
# leave the range of float32.
def spread(
    x: Array, axes: tuple[int, ...], keepdims: bool, divisor: float, root: bool
) -> tuple[Array, Array, Array]: ...

# The running sum along an axis, kept in float64; from its end with `reverse`. Floats alone.
def cumsum(x: Array, axis: int, reverse: bool) -> Array: ...

# The gradient of broadcasting: sums x down to `shape`.
def sum_to_shape(x: Array, shape: tuple[int, ...]) -> Array: ...

# --- softmax --- (axis: non-negative)
def softmax_forward(x: Array, axis: int, log: bool) -> Array: ...
def softmax_backward(grad: Array, output: Array, axis: int, log: bool) -> Array: ...

# --- attention ---
# q (B, H, L, E), k (B, G, S, E) and v (B, G, S, V), whose G divides H; bfloat16 too, computed in
# float32. The score of query i and key j is scale * q . k, then softcap * tanh(score / softcap)
# where that is not 0, plus slopes[h] * (j - i - diagonal) (slopes (H,), or None), plus `bias`
# (broadcasts to (B, H, L, S), or None). It is hidden where bias is -Inf, and where
# j - i - diagonal is outside of [-left, right]. Weights are dropped with probability p by the
# Philox word of their place in dense order. bias and slopes are of what is computed in.
# Gives out (B, H, L, V), which lies in memory as (B, L, H, V), and the logarithms of each row's sum
# of exponentials (B, H, L); the gradients of q, k and v.
def attention_forward(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    scale: float,
    softcap: float,
    slopes: Array | None,
    diagonal: int,
    left: int,
    right: int,
    p: float,
    seed: int,
    call: int,
) -> tuple[Array, Array]: ...
def attention_backward(
    grad: Array,
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    log_sums: Array,
    bias: Array | None,
    scale: float,
    softcap: float,
    slopes: Array | None,
    diagonal: int,
    left: int,
    right: int,
    p: float,
    seed: int,
    call: int,
) -> tuple[Array, Array, Array]: ...

# Sequences one behind the other: q (T, H, E), k (S, G, E), v (S, G, V), the gradients likewise.
# Sequence i has rows cu_q[i] to cu_q[i + 1] of q, and those of cu_k of k and v, of which it uses
# the first used_k[i] (or all, None). With a table k is (P, size, G, E), v (P, size, G, V), cu_k
# None, and key j of sequence i row j % size of page table[i, j // size]. All are int64. The last
# query stands beside the last key. Gives out (T, H, V), zero behind the last sequence, and the
# logarithms of the sums (T * H,), each sequence's (H, its queries) behind the one before.
def varlen_attention_forward(
    q: Array,
    k: Array,
    v: Array,
    cu_q: Array,
    cu_k: Array | None,
    used_k: Array | None,
    table: Array | None,
    scale: float,
    softcap: float,
    slopes: Array | None,
    left: int,
    right: int,
) -> tuple[Array, Array]: ...
def varlen_attention_backward(
    grad: Array,
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    log_sums: Array,
    cu_q: Array,
    cu_k: Array,
    scale: float,
    softcap: float,
    slopes: Array | None,
    left: int,
    right: int,
) -> tuple[Array, Array, Array]: ...

# --- recurrent ---
# A layer of `cell`, "rnn_tanh", "rnn_relu", "lstm" or "gru", in D = 1 or 2 directions, the second
# from the last step to the first. x is (T, N, I), with `batch_first` (N, T, I), or with `sizes`
# (T,), int64, the batch size of each step, never more than before, (rows, I). h0 (D, N, O) and c0
# (D, N, H) of an lstm, or None: zeros. `weights`, five of each direction in turn: w (gates * H, I),
# u (gates * H, O), their biases, and an lstm's projection (O, H), the last three or None: gates i,
# f, g, o or r, z, n, PyTorch's. Forward gives the outputs (..., D * O), the last h (D, N, O) and of
# an lstm c (D, N, H), one after the other in one array (`flat`), and with `save` what backward
# needs of each direction: gates (rows, gates * H) and c, or a gru's product of n with the state,
# (rows, H); none of an rnn.
# Backward gives the gradients of x, h0, c0 and of each weight, None where not asked for.
def recurrent_forward(
    cell: str,
    x: Array,
    sizes: Array | None,
    batch_first: bool,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array | None],
    save: bool,
) -> tuple[Array, list[Array]]: ...
def recurrent_backward(
    cell: str,
    grad: Array,
    flat: Array,
    x: Array,
    sizes: Array | None,
    batch_first: bool,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array | None],
    saved: Sequence[Array],
    need_x: bool,
    need_states: bool,
    need_weights: bool,
) -> tuple[Array | None, Array | None, Array | None, list[Array | None]]: ...

# --- norm ---
# Batch norm of (N, C, ...): max((x - mean) rstd weight + bias + residual, 0 with activation
# "relu"; "none" without), mean and rstd the batch's in training, where they move the running
# statistics in place (the variance without bias), else the running ones. All but x and residual
# are (C,). Gives y, mean, rstd; of no elements these are NaN, and the running ones stay.
def batch_norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    activation: str,
    residual: Array | None,
) -> tuple[Array, Array, Array]: ...

# (dx, dweight, dbias, dresidual); dx and dresidual None where not asked for. output: what forward
# gave, with "relu"; else None.
def batch_norm_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    rstd: Array,
    training: bool,
    output: Array | None,
    need_x: bool,
    need_residual: bool,
) -> tuple[Array | None, Array, Array, Array | None]: ...

# Rows of `length` neighbours, in C order, each normalised by itself: layer, RMS (not centred; its
# mean is None), group and instance norm. weight and bias have `channels` elements: `groups` rows
# take the next channels / groups of them each, then they repeat. Of images (N, C, ...) that lie
# channels last, groups are of channels all the same. Gives y, mean, rstd, y in x's layout. With a
# residual of x's shape it is their sum that is normalised, the last result, None else.
def norm_rows_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    length: int,
    groups: int,
    channels: int,
    center: bool,
    eps: float,
    residual: Array | None = None,
) -> tuple[Array, Array | None, Array, Array | None]: ...

# (dx, dweight, dbias); dx, added to `onto` where that is given, None where not asked for.
def norm_rows_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array | None,
    rstd: Array,
    length: int,
    groups: int,
    channels: int,
    need_x: bool,
    onto: Array | None = None,
) -> tuple[Array | None, Array, Array]: ...

# --- pool --- (x (N, C, H, W); results are channels-last in memory where x is, else in C order)
# rows, cols: int64 (outputs, 4), a window each: start, step, taps, size. It covers the inputs
# start, start + step, ...: `taps` of them, all inside. Both sizes together divide an average. Or
# int64 (runs, 6): a window, how many like it there are, and how far apart.
# With save, the second result is each maximum's position in its window (taps of the row times the
# row, plus the column): uint8 where all fit, else uint32. Of equals the first, of NaNs the last.
def pool_max_forward(
    x: Array, rows: Array, cols: Array, save: bool
) -> tuple[Array, Array | None]: ...

# height, width, channels_last: of the input that the gradient is for.
def pool_max_backward(
    grad: Array,
    saved: Array,
    rows: Array,
    cols: Array,
    height: int,
    width: int,
    channels_last: bool,
) -> Array: ...
def pool_average_forward(x: Array, rows: Array, cols: Array) -> Array: ...
def pool_average_backward(
    grad: Array, rows: Array, cols: Array, height: int, width: int, channels_last: bool
) -> Array: ...

# --- interpolate --- (x (N, C, H, W); layouts as for pool)
# index: int64 (outputs, 2), the two inputs that an output blends; weights: float64 (outputs,), of
# the second. Both weights None: the first inputs as they are.
def interpolate_forward(
    x: Array,
    row_index: Array,
    row_weights: Array | None,
    col_index: Array,
    col_weights: Array | None,
) -> Array: ...
def interpolate_backward(
    grad: Array,
    row_index: Array,
    row_weights: Array | None,
    col_index: Array,
    col_weights: Array | None,
    height: int,
    width: int,
    channels_last: bool,
) -> Array: ...

# --- loss --- (reduction: "none", "mean" or "sum"; losses are 0-d arrays unless "none")
# logits (N, C), target (N,) int64, weight (C,). `saved` is opaque, for cross_entropy_backward.
def cross_entropy_forward(
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Array, Array]: ...
def cross_entropy_backward(
    grad: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    saved: Array,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Array: ...

# Of d = input - target. kind: "square" d^2, "absolute" |d|, "huber" d^2 / 2 within the limit and
# limit (|d| - limit / 2) beyond, "smooth" that over the limit; the first two read no limit.
def distance_forward(
    kind: str, input: Array, target: Array, limit: float, reduction: str
) -> Array: ...

# The gradient of input; target's is its negative.
def distance_backward(
    kind: str, grad: Array, input: Array, target: Array, limit: float, reduction: str
) -> Array: ...

# --- sequence --- (CTC; log_probs (T, N, C); the labels of all sequences, one's after another's, of
# int64 as the lengths are; losses (N,); the gradient is that of the logits whose log_softmax
# log_probs are)
def ctc_forward(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]: ...
def ctc_backward(
    grad: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    losses: Array,
    saved: Array,
    zero_infinity: bool,
) -> Array: ...

# --- optim --- (one call a step: lists of arrays, written in place)
def sgd_step(
    params: list[Array],
    grads: list[Array],
    momenta: list[Array] | None,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None: ...

# max_exp_avg_sqs: amsgrad's, or None. decoupled: AdamW's weight decay. step counts from 1.
def adam_step(
    params: list[Array],
    grads: list[Array],
    exp_avgs: list[Array],
    exp_avg_sqs: list[Array],
    max_exp_avg_sqs: list[Array] | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None: ...

# The sum of the squares of all elements, in float64; and all elements times `factor`, in place.
def squares_of(arrays: list[Array]) -> float: ...
def scale_(arrays: list[Array], factor: float) -> None: ...

# --- order --- (axes non-negative; C order comes out)
# (values, indices) in order: NaN above every number, of equal elements the first first.
def sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]: ...
def topk(x: Array, k: int, axis: int, largest: bool) -> tuple[Array, Array]: ...

# --- index --- (axes non-negative; indices int64, within the axis: IndexError; negative ones count
# from its end where it `wraps`. C order comes out)
# y[i][j] = x[index[i][j]][j] for axis 0: index no longer than x but along the axis.
def gather(x: Array, axis: int, index: Array, wraps: bool) -> Array: ...

# The slices of x along the axis that index (N,) names.
def index_select(x: Array, axis: int, index: Array, wraps: bool) -> Array: ...

# x with y[index[i][j]][j] = source[i][j], and with the slices that index (N,) names replaced: the
# last counts. source: as index chooses, or one element without axes.
def scatter(x: Array, axis: int, index: Array, source: Array) -> Array: ...
def index_copy(x: Array, axis: int, index: Array, source: Array) -> Array: ...

# x with source reduced into it; without include_self what x has counts only where nothing comes.
# how: "sum", "prod", "amax", "amin" or, of floats, "mean"; of bools amax and amin. Sums are kept in
# float64.
def scatter_reduce(
    x: Array, axis: int, index: Array, source: Array, how: str, include_self: bool
) -> Array: ...

# The gradient of gather: zeros of `shape`, and y[index[i][j]][j] += x[i][j].
def scatter_add(
    x: Array, axis: int, index: Array, shape: tuple[int, ...], wraps: bool
) -> Array: ...

# --- embedding --- (groups of rows; what of float dtypes. Indices (N,), as above)
# start, or zeros, with `rows` slices along the axis, and y[index[i]] += x[i].
def index_add(
    x: Array, axis: int, index: Array, rows: int, start: Array | None, wraps: bool
) -> Array: ...

# The rows of x (N, columns) by the segment that index names, `count` of them: their sum or mean,
# and none for the segment `skipped` (-1: no such); the largest, and which row each is from, 0 and
# -1 where there is none.
def segment_sum(x: Array, index: Array, count: int, skipped: int, mean: bool) -> Array: ...
def segment_max(x: Array, index: Array, count: int) -> tuple[Array, Array]: ...

# Bags begin at offsets (bags,): the first at 0, the last ends with the index. Entries of padding
# (-1: none) do not count. mode: "sum", "mean" or "max", whose second result is as segment_max's, of
# rows of the table. weights (N,), for sum.
def embedding_bag_forward(
    table: Array, index: Array, offsets: Array, weights: Array | None, mode: str, padding: int
) -> tuple[Array, Array | None]: ...
def embedding_bag_backward(
    grad: Array,
    index: Array,
    offsets: Array,
    weights: Array | None,
    mean: bool,
    rows: int,
    padding: int,
    by_frequency: bool,
) -> Array: ...
def embedding_bag_weights_backward(
    grad: Array, table: Array, index: Array, offsets: Array, padding: int
) -> Array: ...

# --- mask --- (of bools; C order comes out)
# a where the condition holds, else b, of one dtype: all broadcast.
def where(condition: Array, a: Array, b: Array) -> Array: ...

# The elements under a mask of x's shape; x (or zeros) with those replaced by source's, in order.
def masked_select(x: Array, mask: Array) -> Array: ...
def masked_scatter(x: Array | None, mask: Array, source: Array) -> Array: ...

# The places of what is not zero: (count, axes) int64, or (axes, count).
def nonzero(x: Array, by_axis: bool) -> Array: ...

# --- copy --- (of any dtype and layout: into C order, or into x's own where that is dense)
def copy(x: Array, keep_layout: bool) -> Array: ...

# Each axis grown by so much. mode: "constant" (value, one element), "reflect", "replicate" or
# "circular", which want an axis to take from.
def pad(
    x: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str, value: Array
) -> Array: ...

# A view: axes of length 1, and new ones in front, as long as `shape` says; -1 keeps a length. It is
# read-only where it shows an element several times.
def expand(x: Array, shape: tuple[int, ...]) -> Array: ...

# Its gradient: what was taken from each element comes back to it.
def pad_backward(
    grad: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str
) -> Array: ...

# Of one dtype (TypeError), and alike but along the axis (ValueError), in C order.
def concatenate(arrays: Sequence[Array], axis: int) -> Array: ...

# Of one dtype and shape, along a new axis.
def stack(arrays: Sequence[Array], axis: int) -> Array: ...

# --- random --- (Philox: integers and uniforms agree to the bit on every engine, normals to 2 ulp)
def random_bits(shape: tuple[int, ...], seed: int, call: int) -> Array: ...
def uniform(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array: ...
def normal(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array: ...
