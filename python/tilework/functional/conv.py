"""Convolutions and their transposed twins, with what is fused into them.

Three maps, each linear in both of its arguments and each the gradient of the other two: the
convolution (x, weight) -> y, its transposed twin (y, weight) -> x, and the correlation
(y, x) -> weight. So every gradient is one of them again, and all can be differentiated without end.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from tilework import autocasting, dtypes
from tilework.arrays import ndarray
from tilework.autograd import Op, mode, record, recorded
from tilework.dtypes import bfloat16, float32, float64
from tilework.engines import ops
from tilework.errors import error
from tilework.functional import overlap
from tilework.functional.border import refusal
from tilework.functional.conv_shapes import Geometry, Pair, conv_plan, transpose_plan
from tilework.functional.lowering import lowered
from tilework.functional.packed import packed_weight
from tilework.functional.unary import ACTIVATIONS, activated, check_activation
from tilework.tensor import Tensor, fresh, new_storage

Inputs = tuple[Any, ...]
Size = int | Sequence[int]


# --- the three maps, over images (N, C, H, W) ---


def _conv_gradients(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias, residual = inputs
    (stride, padding, dilation, groups), activation, z = saved
    return ops.conv_backward(
        grad,
        x._array,
        weight._array,
        z,
        stride,
        padding,
        dilation,
        groups,
        activation,
        x._requires_grad,
        weight._requires_grad,
        bias is not None and bias._requires_grad,
        residual is not None and residual._requires_grad,
    )


def _conv_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias, residual = inputs
    geometry, activation, _ = saved
    if activation != "none":
        z = _conv(x, weight, bias, residual, geometry, _image(grad), "none")
        grad = ACTIVATIONS[activation].chain(grad, z)
    return (
        _transpose(grad, weight, None, geometry, _image(x), "none") if x._requires_grad else None,
        _correlation(grad, x, weight, geometry) if weight._requires_grad else None,
        grad.sum((0, 2, 3)) if bias is not None and bias._requires_grad else None,
        grad if residual is not None and residual._requires_grad else None,
    )


_CONV = Op("conv", _conv_gradients, _conv_recorded, rereads=True)


def _transpose_gradients(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias = inputs
    (stride, padding, dilation, groups), activation, z = saved
    return ops.conv_transpose_backward(
        grad,
        x._array,
        weight._array,
        z,
        stride,
        padding,
        dilation,
        groups,
        activation,
        x._requires_grad,
        weight._requires_grad,
        bias is not None and bias._requires_grad,
    )


def _transpose_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias = inputs
    geometry, activation, _ = saved
    if activation != "none":
        z = _transpose(x, weight, bias, geometry, _image(grad), "none")
        grad = ACTIVATIONS[activation].chain(grad, z)
    return (
        _conv(grad, weight, None, None, geometry, _image(x), "none") if x._requires_grad else None,
        _correlation(x, grad, weight, geometry) if weight._requires_grad else None,
        grad.sum((0, 2, 3)) if bias is not None and bias._requires_grad else None,
    )


_TRANSPOSE = Op("conv_transpose", _transpose_gradients, _transpose_recorded, rereads=True)


def _correlation_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    y, x = inputs
    return (
        _conv(x, grad, None, None, saved, _image(y), "none") if y._requires_grad else None,
        _transpose(y, grad, None, saved, _image(x), "none") if x._requires_grad else None,
    )


_CORRELATION = Op("conv_weight", differentiable=_correlation_recorded)


def _image(x: Tensor) -> Pair:
    height, width = x._array.shape[2:]
    return height, width


def _taped(x: Tensor, weight: Tensor, *others: Tensor | None) -> bool:
    if not mode.enabled:
        return False
    if weight._requires_grad or x._requires_grad:
        return True
    return any(t is not None and t._requires_grad for t in others)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    geometry: Geometry,
    out_size: Pair,
    activation: str,
    kept: Tensor | None = None,
) -> Tensor:
    """`kept`: the caller's weight, where it will be seen again."""
    taped = _taped(x, weight, bias, residual)
    stride, padding, dilation, groups = geometry
    y, saved = ops.conv_forward(
        x._array,
        weight._array,
        None if bias is None else bias._array,
        None if residual is None else residual._array,
        stride,
        padding,
        dilation,
        groups,
        out_size,
        activation,
        taped,
        None if kept is None else packed_weight(kept, taped, _pack),
    )
    if not taped:
        result = fresh(y)
    else:
        result = _on_tape(y, _CONV, (x, weight, bias, residual), geometry, activation, saved)
    return result._keep_channels(x) if x._storage.layout else result


def _pack(weight: Any) -> Any:
    return ops.pack_conv_weight(weight)


def _transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    out_size: Pair,
    activation: str,
) -> Tensor:
    taped = _taped(x, weight, bias)
    stride, padding, dilation, groups = geometry
    if activation == "none" and overlap.serves(x._array, weight._array, stride, dilation, groups):
        added = None if bias is None else bias._array
        y = overlap.transposed(x._array, weight._array, added, stride[1], padding[1], out_size[1])
        if not taped:
            return fresh(y)
        return _on_tape(y, _TRANSPOSE, (x, weight, bias), geometry, activation, None)
    y, saved = ops.conv_transpose_forward(
        x._array,
        weight._array,
        None if bias is None else bias._array,
        stride,
        padding,
        dilation,
        groups,
        out_size,
        activation,
        taped,
    )
    if not taped:
        return fresh(y)
    return _on_tape(y, _TRANSPOSE, (x, weight, bias), geometry, activation, saved)


def _on_tape(
    y: Any, op: Op, inputs: Inputs, geometry: Geometry, activation: str, saved: Any
) -> Tensor:
    own = new_storage()
    reads = (inputs[0]._storage, inputs[1]._storage)
    return recorded(
        y, own, op, inputs, (geometry, activation, saved), (*reads, own) if saved is y else reads
    )


def _correlation(y: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of a weight like this one."""
    stride, padding, dilation, groups = geometry
    _, found, _, _ = ops.conv_backward(
        y._array, x._array, weight._array, None, stride, padding, dilation, groups, "none",
        False, True, False,
    )  # fmt: skip
    assert found is not None
    w = fresh(found)
    if _taped(y, x):
        record(w, _CORRELATION, (y, x), geometry, (y._storage, x._storage))
    return w


# --- the public functions ---


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: str | Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    activation: str = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """conv2d along one axis: (N, C_in, L) or (C_in, L), (C_out, C_in / groups, K), (C_out,).

    >>> F.conv1d(tw.ones(1, 2, 5), tw.ones(3, 2, 3), padding=1).shape
    (1, 3, 5)
    """
    settings = (_plain(stride), _plain(padding), _plain(dilation), _plain(groups))
    try:
        return _in_general("conv1d", conv_plan, settings, input, weight, bias, activation, residual)
    except Exception as reason:
        raise refusal(
            "conv1d", conv1d, reason, input, weight, bias, stride, padding, dilation, groups
        ) from None


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: str | Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    activation: str = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """activation(input * weight + bias + residual), * being the cross-correlation of images.

    input (N, C_in, H, W) or (C_in, H, W), weight (C_out, C_in / groups, KH, KW), bias (C_out,),
    residual as the output: (N, C_out, OH, OW). An axis of length L gives
    (L + 2 padding - dilation (K - 1) - 1) // stride + 1; padding="same" (with stride 1) keeps L,
    and "valid" is 0. The activations are those of F.linear. All of one float dtype (TypeError); of
    bfloat16 all is computed in float32, and rounded once.
    ValueError where channels, groups or sizes disagree, or the window does not fit the input.

    >>> image, weight = tw.ones(1, 3, 8, 8), tw.ones(4, 3, 3, 3)
    >>> F.conv2d(image, weight, stride=2, padding=1).shape
    (1, 4, 4, 4)
    """
    try:
        return fused_conv2d(
            input,
            weight,
            bias,
            _plain(stride),
            _plain(padding),
            _plain(dilation),
            _plain(groups),
            activation,
            residual,
        )
    except Exception as reason:
        raise refusal(
            "conv2d", conv2d, reason, input, weight, bias, stride, padding, dilation, groups
        ) from None


def fused_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: str,
    residual: Tensor | None,
) -> Tensor:
    """conv2d() for the layers: by position, which is the cheaper call; tuples, not lists."""
    if autocasting.active:
        input, weight, bias = lowered(input, weight, bias)
    settings = (stride, padding, dilation, groups)
    try:
        x, w = input._array, weight._array
        dtype, shape = w.dtype, w.shape
        plain = (
            x.ndim == 4
            and x.dtype is dtype
            and (dtype is float32 or dtype is bfloat16 or dtype is float64)
            and (bias is None or (bias._array.dtype is dtype and bias._array.shape == shape[:1]))
            and (residual is None or residual._array.dtype is dtype)
            and (activation == "none" or activation in ACTIVATIONS)
        )
    except AttributeError:
        plain = False
    if plain:
        geometry, out_size = conv_plan("conv2d", x.shape, shape, *settings)
        if residual is None or residual._array.shape == (x.shape[0], shape[0], *out_size):
            return _conv(input, weight, bias, residual, geometry, out_size, activation, weight)
    return _in_general("conv2d", conv_plan, settings, input, weight, bias, activation, residual)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    activation: str = "none",
) -> Tensor:
    """conv_transpose2d along one axis: (N, C_in, L) or (C_in, L), (C_in, C_out / groups, K).

    >>> F.conv_transpose1d(tw.ones(1, 2, 5), tw.ones(2, 3, 4), stride=2, padding=1).shape
    (1, 3, 10)
    """
    return _transposed(
        conv_transpose1d,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        activation,
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    activation: str = "none",
) -> Tensor:
    """The gradient of conv2d's input as a layer: each element spreads a kernel over the output.

    input (N, C_in, H, W) or (C_in, H, W), weight (C_in, C_out / groups, KH, KW), bias (C_out,). An
    axis of length L gives (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1.
    Errors as conv2d's; ValueError where output_padding reaches both stride and dilation.

    >>> F.conv_transpose2d(tw.ones(1, 2, 4, 4), tw.ones(2, 3, 4, 4), stride=2, padding=1).shape
    (1, 3, 8, 8)
    """
    return _transposed(
        conv_transpose2d,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        activation,
    )


def _transposed(
    function: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
    activation: str,
) -> Tensor:
    """What the public `function` gives, or raises in its name."""
    op, given = function.__name__, (stride, padding, output_padding, groups, dilation)
    try:
        settings = tuple(map(_plain, given))
        return _in_general(op, transpose_plan, settings, input, weight, bias, activation)
    except Exception as reason:
        raise refusal(op, function, reason, input, weight, bias, *given) from None


_SEVERAL = (tuple, list, range)


def _plain(value: Any) -> Any:
    """What plans are looked up by: an int, a word, or a tuple of ints. A stranger's repr, which
    the plan refuses in its turn."""
    if type(value) is int or type(value) is str:
        return value
    value = value.tolist() if isinstance(value, ndarray) else value
    try:
        return tuple(map(index, value)) if isinstance(value, _SEVERAL) else index(value)
    except (TypeError, ValueError):
        return " ".join(repr(value).split())[:60]


def _in_general(
    op: str,
    plan: Any,
    settings: tuple[Any, ...],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    residual: Tensor | None = None,
) -> Tensor:
    """Any rank, with or without a batch; or an error."""
    if autocasting.active:
        input, weight, bias = lowered(input, weight, bias)
        if isinstance(residual, Tensor) and residual.dtype is not weight.dtype:
            check_activation(op, activation)
            y = _in_general(op, plan, settings, input, weight, bias, "none")
            return activated(y + residual, activation)
    _check_tensors(op, input, weight, bias, residual)
    rank = int(op[-2])
    batched = input.ndim != rank + 1
    shape = input.shape if batched else (1, *input.shape)
    geometry, out_size = plan(op, shape, weight.shape, *settings)
    outputs = weight.shape[0] if plan is conv_plan else weight.shape[1] * geometry[3]
    out_shape = (*shape[:1], outputs, *out_size[2 - rank :])[0 if batched else 1 :]
    _check_others(op, bias, residual, outputs, out_shape)
    check_activation(op, activation)

    def image(t: Tensor, whole: bool) -> Tensor:
        t = t if whole else t.unsqueeze(0)
        return t if rank == 2 else t.unsqueeze(2)

    x, w = image(input, batched), image(weight, True)
    if plan is conv_plan:
        r = None if residual is None else image(residual, batched)
        y = _conv(x, w, bias, r, geometry, out_size, activation, weight)
    else:
        y = _transpose(x, w, bias, geometry, out_size, activation)
    y = y if rank == 2 else y.squeeze(2)
    return y if batched else y.squeeze(0)


def _check_tensors(op: str, *given: Any) -> None:
    """TypeError unless all are Tensors of one float dtype, those after the second perhaps None."""
    if not all(isinstance(t, Tensor) or (t is None and i > 1) for i, t in enumerate(given)):
        kinds = ", ".join(type(t).__name__ for t in given)
        raise error(
            TypeError, op, "Tensors for input, weight, bias and residual (the last two or None)",
            kinds, "wrap arrays: tilework.tensor(...)",
        )  # fmt: skip
    found = [t.dtype for t in given if t is not None]
    if any(d != found[0] for d in found) or not dtypes.is_float(found[0]):
        raise error(
            TypeError, op, "one float dtype", ", ".join(map(str, found)),
            "convert with x.to(weight.dtype)",
        )  # fmt: skip


def _check_others(
    op: str, bias: Any, residual: Any, outputs: int, out_shape: tuple[int, ...]
) -> None:
    if bias is not None and bias.shape != (outputs,):
        raise error(ValueError, op, f"bias ({outputs},)", bias.shape, "give one an output channel")
    if residual is not None and residual.shape != out_shape:
        raise error(ValueError, op, f"residual {out_shape}", residual.shape, "expand it first")
