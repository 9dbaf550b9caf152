"""Normalisation: over the batch (batch norm) and over each row by itself (layer, RMS, group and
instance norm)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.autograd import Op, mode, no_grad, record
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.cast import cast
from tilework.functional.common import need_float, operand, sizes
from tilework.functional.inplace import check_writable, written
from tilework.functional.pointwise import recorded_sum, zero_where
from tilework.storage import Storage
from tilework.tensor import Tensor, fresh

Inputs = tuple[Any, ...]
Optional = Tensor | None


def _in_one_dtype(x: Tensor, residual: Optional) -> tuple[Tensor, Optional]:
    """An input and its residual in the wider dtype of the two, as a sum of them has it."""
    narrow = isinstance(residual, Tensor) and residual._array.dtype is not x._array.dtype
    if narrow and {x.dtype, residual.dtype} == {dtypes.bfloat16, dtypes.float32}:  # type: ignore[union-attr]
        return cast(x, dtypes.float32), cast(residual, dtypes.float32)  # type: ignore[arg-type]
    return x, residual


def _check_parameter(op: str, name: str, value: Optional, x: Tensor, shape: Sequence[int]) -> None:
    """ValueError or TypeError where a weight, bias or statistic does not go with the input."""
    if value is None:
        return
    if not isinstance(value, Tensor):
        operand(value, op, name)
    if value._array.shape == shape and value._array.dtype is x._array.dtype:
        return
    if value.shape != tuple(shape):
        raise error(
            ValueError, op, f"{name} {tuple(shape)} beside input {x.shape}", value.shape,
            "give one number to each",
        )  # fmt: skip
    # Statistics and parameters may be wider than a bfloat16 input.
    wider = x.dtype is dtypes.bfloat16 and value.dtype is dtypes.float32
    if value.dtype is not x.dtype and not wider:
        raise error(
            TypeError, op, f"{name} of the input's dtype, {x.dtype}", value.dtype,
            "convert one with x.to(other.dtype)",
        )  # fmt: skip


def _array(value: Optional) -> Any:
    return None if value is None else value._array


def _wants(value: Optional) -> bool:
    return value is not None and value._requires_grad


def _reads(*tensors: Optional) -> tuple[Storage, ...]:
    return tuple(t._storage for t in tensors if t is not None)


# --- batch norm ---


def _batch_backward(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias, residual = inputs
    mean, rstd, training, output, _ = saved
    dx, dweight, dbias, dresidual = ops.batch_norm_backward(
        grad, x._array, _array(weight), mean, rstd, training, output,
        x._requires_grad, _wants(residual),
    )  # fmt: skip
    return dx, dweight if _wants(weight) else None, dbias if _wants(bias) else None, dresidual


def _batch_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias, residual = inputs
    mean, rstd, training, output, eps = saved
    if output is not None:
        grad = zero_where(grad, output <= 0)
    over = tuple(i for i in range(x.ndim) if i != 1)
    shape = (1, -1, *(1,) * (x.ndim - 2))
    if training:
        normal, inverse = _standardised(x, over, True, eps)
    else:
        inverse = fresh(rstd.reshape(shape))
        normal = (x - fresh(mean.reshape(shape))) * inverse
    dx = dweight = dbias = None
    if x._requires_grad:
        scaled = grad if weight is None else grad * weight.reshape(shape)
        dx = _pulled_back(scaled, normal, inverse, over, True) if training else scaled * inverse
    if _wants(weight):
        dweight = (grad * normal).sum(over)
    if _wants(bias):
        dbias = grad.sum(over)
    return dx, dweight, dbias, grad if _wants(residual) else None


def _standardised(
    x: Tensor, over: tuple[int, ...], center: bool, eps: float
) -> tuple[Tensor, Tensor]:
    """x less its mean (where `center`) over its deviation, and one over that, in recorded ops."""
    away = x - x.mean(over, keepdim=True) if center else x
    inverse = (away.square().mean(over, keepdim=True) + eps).rsqrt()
    return away * inverse, inverse


def _pulled_back(
    grad: Tensor, normal: Tensor, inverse: Tensor, over: tuple[int, ...], center: bool
) -> Tensor:
    """The gradient of what _standardised took: less its parts along a shift and a scaling."""
    rest = grad - normal * (grad * normal).mean(over, keepdim=True)
    if center:
        rest = rest - grad.mean(over, keepdim=True)
    return rest * inverse


_BATCH_NORM = Op("batch_norm", _batch_backward, _batch_recorded)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """Each channel less its mean, over its standard deviation, times `weight` plus `bias`.

    input (N, C, ...), the others (C,), all of one float dtype. In training the statistics are the
    batch's, and move the running ones in place: by `momentum`, the variance without bias. Else the
    running ones serve. In the same pass `residual` (input's shape) is added and then `activation`
    ("none" or "relu") applied. The result has the input's memory layout.

    Raises ValueError where shapes disagree, where training finds one value a channel or none, and
    on inference without running statistics; TypeError on dtypes. Ioffe and Szegedy, "Batch
    normalization", 2015.

    >>> x = tw.tensor([[1.0], [3.0]])
    >>> F.batch_norm(x, None, None, training=True)
    tensor([[-1.],
            [ 1.]])
    """
    x, residual = _in_one_dtype(operand(input, "batch_norm"), residual)
    _check_batch(x, training, running_mean, running_var, activation)
    for name, value in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
        ("bias", bias),
    ):  # fmt: skip
        _check_parameter("batch_norm", name, value, x, x.shape[1:2])
    _check_parameter("batch_norm", "residual", residual, x, x.shape)
    if x.dtype is dtypes.bfloat16:
        return _batch_norm_bfloat16(
            x, running_mean, running_var, weight, bias, training, momentum, eps, activation,
            residual,
        )  # fmt: skip
    statistics = [s for s in (running_mean, running_var) if training and s is not None]
    for statistic in statistics:
        check_writable("batch_norm", statistic)
    array, mean, rstd = ops.batch_norm_forward(
        x._array, _array(weight), _array(bias), _array(running_mean), _array(running_var),
        training, momentum, eps, activation, _array(residual),
    )  # fmt: skip
    for statistic in statistics:
        written(statistic)
    y = fresh(array)._keep_channels(x)
    if mode.enabled and (x._requires_grad or _wants(weight) or _wants(bias) or _wants(residual)):
        cut = activation == "relu"
        reads = (*_reads(x, weight), *((y._storage,) if cut else ()))
        saved = (mean, rstd, training, array if cut else None, eps)
        record(y, _BATCH_NORM, (x, weight, bias, residual), saved, reads)
    return y


def _check_batch(x: Tensor, training: bool, mean: Optional, var: Optional, activation: str) -> None:
    need_float("batch_norm", x)
    if x.ndim < 2:
        raise error(
            ValueError, "batch_norm", "input (N, C, ...)", x.shape, "add the axis that is missing"
        )
    if activation not in ("none", "relu"):
        raise error(
            ValueError, "batch_norm", 'activation "none" or "relu"', word(activation),
            "apply it to the result",
        )  # fmt: skip
    if training and math.prod(x.shape) // max(x.shape[1], 1) < 2 and x.shape[1]:
        raise error(
            ValueError, "batch_norm", "more than one value a channel in training", x.shape,
            "take a larger batch, or call eval() on the layer",
        )  # fmt: skip
    if not training and (mean is None or var is None):
        raise error(
            ValueError, "batch_norm", "running_mean and running_var in inference", "None",
            "give both, or pass training=True",
        )  # fmt: skip


def _batch_norm_bfloat16(
    x: Tensor, running_mean: Optional, running_var: Optional, weight: Optional, bias: Optional,
    training: bool, momentum: float, eps: float, activation: str, residual: Optional,
) -> Tensor:  # fmt: skip
    """In float32, rounded once: the result, and statistics kept in bfloat16."""
    wide = {s: cast(s, dtypes.float32) for s in (running_mean, running_var) if s is not None}
    y: Tensor = batch_norm(
        cast(x, dtypes.float32), _at(wide, running_mean), _at(wide, running_var), _widened(weight),
        _widened(bias), training, momentum, eps, activation=activation, residual=_widened(residual),
    )  # fmt: skip
    for kept, now in wide.items():
        if training and kept is not now:
            check_writable("batch_norm", kept)
            kept._array[...] = now._array
            written(kept)
    return cast(y, dtypes.bfloat16)


def _at(wide: dict[Tensor, Tensor], key: Optional) -> Optional:
    return None if key is None else wide[key]


def _widened(x: Optional) -> Optional:
    return None if x is None else cast(x, dtypes.float32)


# --- rows ---


def _rows_backward(grad: Any, inputs: Inputs, saved: Any, onto: Any = None) -> Sequence[Any]:
    x, weight, bias = inputs
    mean, rstd, length, groups, channels, _ = saved
    dx, dweight, dbias = ops.norm_rows_backward(
        grad, x._array, _array(weight), mean, rstd, length, groups, channels, x._requires_grad,
        onto,
    )  # fmt: skip
    return (
        dx,
        dweight.reshape(weight.shape) if _wants(weight) else None,
        dbias.reshape(bias.shape) if _wants(bias) else None,
    )


def _rows_recorded(
    grad: Tensor, inputs: Inputs, saved: Any, shape: tuple[int, ...], center: bool
) -> Sequence[Any]:
    """`shape`: of the weight and bias, as they broadcast with the input."""
    x, weight, bias = inputs
    length, eps = saved[2], saved[5]
    normal, inverse = _standardised(x.reshape(-1, max(length, 1)), (1,), center, eps)
    dx = dweight = dbias = None
    if x._requires_grad:
        scaled = grad if weight is None else grad * weight.reshape(shape)
        rows = scaled.reshape(-1, max(length, 1))
        dx = _pulled_back(rows, normal, inverse, (1,), center).reshape(x.shape)
    if _wants(weight):
        dweight = (grad * normal.reshape(x.shape)).sum_to_size(shape).reshape(weight.shape)
    if _wants(bias):
        dbias = grad.sum_to_size(shape).reshape(bias.shape)
    return dx, dweight, dbias


def _trailing_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return _rows_recorded(grad, inputs, saved, _parameter_shape(inputs), True)


def _rms_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return _rows_recorded(grad, inputs, saved, _parameter_shape(inputs), False)


def _channels_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    shape = (saved[4], *(1,) * (inputs[0].ndim - 2))
    return _rows_recorded(grad, inputs, saved, shape, True)


def _parameter_shape(inputs: Inputs) -> tuple[int, ...]:
    _, weight, bias = inputs
    return next((t.shape for t in (weight, bias) if t is not None), ())


# A residual's gradient mostly waits at what these normalise: they add theirs to it on the way.
_LAYER_NORM = Op("layer_norm", _rows_backward, _trailing_recorded, onto=_rows_backward)
_RMS_NORM = Op("rms_norm", _rows_backward, _rms_recorded, onto=_rows_backward)
_GROUP_NORM = Op("group_norm", _rows_backward, _channels_recorded)
_INSTANCE_NORM = Op("instance_norm", _rows_backward, _channels_recorded)


def _norm_rows(
    op: Op, x: Tensor, weight: Optional, bias: Optional, length: int, groups: int, channels: int,
    eps: float, residual: Optional = None,
) -> tuple[Tensor, Any, Any, Optional]:  # fmt: skip
    """The rows normalised, their means and reciprocal deviations, and their sum with a residual,
    where there is one; of float32 or float64."""
    array, mean, rstd, total = ops.norm_rows_forward(
        x._array, _array(weight), _array(bias), length, groups, channels, op is not _RMS_NORM, eps,
        _array(residual),
    )  # fmt: skip
    y, summed = fresh(array), None
    if residual is not None:
        x = summed = recorded_sum(total, x, residual)
    if mode.enabled and (x._requires_grad or _wants(weight) or _wants(bias)):
        saved = (mean, rstd, length, groups, channels, eps)
        reads = (x._storage,) if weight is None else (x._storage, weight._storage)
        record(y, op, (x, weight, bias), saved, reads)
    return y, mean, rstd, summed


def _rows_of_any(
    op: Op, x: Tensor, weight: Optional, bias: Optional, length: int, groups: int, channels: int,
    eps: float,
) -> tuple[Tensor, Any, Any]:  # fmt: skip
    """_norm_rows; bfloat16 in float32, rounded once."""
    if x.dtype is not dtypes.bfloat16:
        return _norm_rows(op, x, weight, bias, length, groups, channels, eps)[:3]
    y, mean, rstd, _ = _norm_rows(
        op, cast(x, dtypes.float32), _widened(weight), _widened(bias), length, groups, channels, eps
    )
    return cast(y, dtypes.bfloat16), mean, rstd


def _trailing(
    op: Op, input: Tensor, normalized_shape: Any, weight: Optional,
    bias: Optional, eps: float, residual: Optional,
) -> Any:  # fmt: skip
    """Rows over the trailing axes, a weight to each element of a row; with a residual, the norm of
    the sum and the sum."""
    x, residual = _in_one_dtype(operand(input, op.name), residual)
    need_float(op.name, x)
    shape = normalized_shape
    if shape.__class__ is not tuple or x._array.shape[-len(shape) :] != shape:
        shape = sizes(op.name, (normalized_shape,))
    if not shape or x._array.shape[-len(shape) :] != shape:
        raise error(
            ValueError, op.name, f"input whose last axes are {shape}", x.shape,
            "name the sizes of the axes to normalise over",
        )  # fmt: skip
    _check_parameter(op.name, "weight", weight, x, shape)
    _check_parameter(op.name, "bias", bias, x, shape)
    length = math.prod(shape)
    if residual is None and x._array.dtype is not dtypes.bfloat16:
        return _norm_rows(op, x, weight, bias, length, 1, length, eps)[0]
    if residual is None:
        return _rows_of_any(op, x, weight, bias, length, 1, length, eps)[0]
    _check_parameter(op.name, "residual", residual, x, x.shape)
    if x.dtype is dtypes.bfloat16:
        both: Tensor = cast(x + residual, dtypes.bfloat16)
        return _rows_of_any(op, both, weight, bias, length, 1, length, eps)[0], both
    y, _, _, summed = _norm_rows(op, x, weight, bias, length, 1, length, eps, residual)
    return y, summed


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
) -> Any:
    """(x - mean) / sqrt(var + eps) over the trailing axes, times `weight` plus `bias`.

    input (..., *normalized_shape), weight and bias of normalized_shape, one float dtype (TypeError;
    float32 parameters go with bfloat16 too). With a `residual` of the input's shape it is input +
    residual that is normalised, in the same pass, and the result is (norm, sum), as a transformer's
    layer wants them. ValueError where shapes disagree. Ba, Kiros and Hinton, "Layer normalization",
    2016.

    >>> F.layer_norm(tw.tensor([[1.0, 3.0], [5.0, 5.0]]), (2,))
    tensor([[-1.,  1.],
            [ 0.,  0.]])
    >>> F.layer_norm(tw.tensor([1.0, 3.0]), (2,), residual=tw.tensor([4.0, 4.0]))
    (tensor([-1.,  1.]), tensor([5., 7.]))
    """
    return _trailing(_LAYER_NORM, input, normalized_shape, weight, bias, eps, residual)


def rms_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    residual: Tensor | None = None,
) -> Any:
    """x / sqrt(mean(x^2) + eps) over the trailing axes, times `weight`.

    input (..., *normalized_shape), weight of normalized_shape; `eps` is the dtype's where it is
    None. `residual` and errors as layer_norm's. Zhang and Sennrich, "Root mean square layer
    normalization", 2019.

    >>> F.rms_norm(tw.tensor([3.0, -3.0]), (2,))
    tensor([ 1., -1.])
    """
    if eps is None:
        dtype = operand(input, "rms_norm").dtype
        eps = float(dtypes.finfo(dtypes.float64 if dtype is dtypes.float64 else dtypes.float32).eps)
    return _trailing(_RMS_NORM, input, normalized_shape, weight, None, eps, residual)


def _need_channels(op: str, x: Tensor, groups: int) -> int:
    """The channels of (N, C, ...); ValueError where groups do not divide them."""
    need_float(op, x)
    if x.ndim < 2:
        raise error(ValueError, op, "input (N, C, ...)", x.shape, "add the axis that is missing")
    channels = x.shape[1]
    if groups < 1 or channels % groups:
        raise error(
            ValueError, op, "a number of groups that divides the channels",
            f"{groups} groups of {channels} channels", "choose a divisor",
        )  # fmt: skip
    return channels


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Each sample's channels normalised group by group, times `weight` plus `bias` by channel.

    input (N, C, ...), weight and bias (C,), one float dtype (TypeError; float32 parameters go with
    bfloat16 too). ValueError where num_groups does not divide C or shapes disagree. Wu and He,
    "Group normalization", 2018.

    >>> F.group_norm(tw.tensor([[1.0, 3.0, 7.0, 7.0]]), 2)
    tensor([[-1., 1., 0., 0.]])
    """
    x = operand(input, "group_norm")
    channels = _need_channels("group_norm", x, num_groups)
    _check_parameter("group_norm", "weight", weight, x, (channels,))
    _check_parameter("group_norm", "bias", bias, x, (channels,))
    length = channels // num_groups * math.prod(x.shape[2:])
    return _rows_of_any(_GROUP_NORM, x, weight, bias, length, num_groups, channels, eps)[0]


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample normalised by itself, times `weight` plus `bias` by channel.

    input (N, C, ...), the others (C,). With use_input_stats the running statistics, if given, are
    moved by `momentum` to the mean of the samples'; without, they are what normalises. Errors as
    batch_norm's. Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.

    >>> F.instance_norm(tw.tensor([[[1.0, 3.0]], [[5.0, 9.0]]]))
    tensor([[[-1., 1.]],
    <BLANKLINE>
            [[-1., 1.]]])
    """
    x = operand(input, "instance_norm")
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    channels = _need_channels("instance_norm", x, 1)
    length = math.prod(x.shape[2:])
    for name, value in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
        ("bias", bias),
    ):  # fmt: skip
        _check_parameter("instance_norm", name, value, x, (channels,))
    if length < 2:
        raise error(
            ValueError, "instance_norm", "more than one value a channel", x.shape,
            "normalise larger maps, or with use_input_stats=False",
        )  # fmt: skip
    if not channels:
        return x.clone()
    y, mean, rstd = _rows_of_any(_INSTANCE_NORM, x, weight, bias, length, channels, channels, eps)
    if mean.size:
        wide = rstd.astype(dtypes.float64).reshape(-1, channels)
        variance = (1.0 / (wide * wide) - eps) * (length / (length - 1))
        _move(running_mean, momentum, mean.astype(dtypes.float64).reshape(-1, channels))
        _move(running_var, momentum, variance)
    return y


@no_grad()
def _move(running: Optional, momentum: float, samples: Any) -> None:
    """Moves a running statistic towards the mean of the samples' (N, C)."""
    if running is None:
        return
    check_writable("instance_norm", running)
    array = running._array
    array[...] = (1.0 - momentum) * array.astype(dtypes.float64) + momentum * samples.mean(axis=0)
    written(running)
