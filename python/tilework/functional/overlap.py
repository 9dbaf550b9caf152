"""Transposed convolution along one axis, of few output channels, as a product and an overlapping
sum: the last step of an inverse short-time Fourier transform.

The kernels of convolution hold output channels in a vector's lanes, and one channel wastes all the
others. Here the lanes hold taps: every element's spread kernel is a row of one matrix product,
and rows are added where they overlap, a stride's length at a time.
"""

from __future__ import annotations

from typing import Any

from tilework.arrays import namespace
from tilework.engines import ops

Array = Any
_FEW, _SHORTEST = 8, 4  # output channels; elements that one addition has side by side


def serves(
    x: Array, weight: Array, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> bool:
    """Whether this way is the faster one for x (N, C, 1, L) and weight (C, O, 1, K)."""
    return (
        x.shape[2] == weight.shape[2] == 1
        and weight.shape[1] <= _FEW
        and groups == dilation[1] == 1
        and stride[1] >= _SHORTEST
        and weight.shape[3] >= stride[1]
        and x.dtype.kind == "f"
        and x.size > 0
    )


def transposed(
    x: Array, weight: Array, bias: Array | None, stride: int, padding: int, length: int
) -> Array:
    """(N, O, 1, length) from x (N, C, 1, L) and weight (C, O, 1, K)."""
    images, channels, _, steps = x.shape
    outputs, taps = weight.shape[1], weight.shape[3]
    spread = ops.matmul(
        x.reshape(images, channels, steps).transpose(0, 2, 1),
        weight.reshape(channels, outputs * taps),
    ).reshape(images, steps, outputs, taps)
    rows = max(steps + -(-taps // stride) - 1, -(-(padding + length) // stride))
    total = namespace(x).zeros((images, outputs, rows, stride), x.dtype)
    for row, start in enumerate(range(0, taps, stride)):
        piece = spread[..., start : start + stride].transpose(0, 2, 1, 3)
        total[:, :, row : row + steps, : piece.shape[3]] += piece
    y = total.reshape(images, outputs, 1, rows * stride)[..., padding : padding + length]
    if bias is None:
        return ops.copy(y, False)
    return ops.copy(y + bias.reshape(outputs, 1, 1), False)
