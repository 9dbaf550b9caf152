"""Copies between layouts, joins and borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework.arrays import host, namespace
from tilework.engines.cupy.base import Array, bits, quiet, wide
from tilework.engines.cupy.groups import added_rows
from tilework.engines.layout import contiguous, empty, empty_as
from tilework.errors import error

__all__ = ["concatenate", "copy", "expand", "pad", "pad_backward", "stack"]


def copy(x: Array, keep_layout: bool) -> Array:
    out = empty_as(x) if keep_layout else empty(x, x.shape)
    out[...] = x
    return out


def expand(x: Array, shape: tuple[int, ...]) -> Array:
    added = len(shape) - x.ndim
    fronted = (1,) * added + x.shape
    wanted = tuple(x.shape[i - added] if n == -1 and i >= added else n for i, n in enumerate(shape))
    seen = namespace(x).broadcast_to(x, wanted)
    return x[(None,) * added + (...,)] if seen.shape == fronted else seen


def _joined(op: str, name: str, arrays: Sequence[Array], axis: int) -> Array:
    dtypes = {x.dtype for x in arrays}
    if len(dtypes) > 1:
        raise error(TypeError, op, "arrays of one dtype", dtypes, "convert them")
    join = getattr(namespace(arrays[0]), name)
    return contiguous(join([bits(x) for x in arrays], axis)).view(arrays[0].dtype)


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    return _joined("cat", "concatenate", arrays, axis)


def stack(arrays: Sequence[Array], axis: int) -> Array:
    if not arrays or not 0 <= axis <= arrays[0].ndim:
        raise error(ValueError, "stack", "arrays, and an axis", axis, "count it from the front")
    return _joined("stack", "stack", arrays, axis)


_PAD = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _places(n: int, front: int, back: int, mode: str) -> Any:
    """Which element of an axis each one of the grown axis is: the host's, as shapes are."""
    return host.pad(host.arange(n), (front, back), mode=_PAD[mode])


def _inside(before: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(front, front + n) for front, n in zip(before, shape, strict=True))


def pad(
    x: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str, value: Array
) -> Array:
    xp = namespace(x)
    grown = tuple(a + n + b for a, n, b in zip(before, x.shape, after, strict=True))
    if mode == "constant":
        out = empty(x, grown)
        out[...] = value
        out[_inside(before, x.shape)] = x
        return out
    y = bits(x)
    for axis, (front, back) in enumerate(zip(before, after, strict=True)):
        if not (front or back):
            continue
        if not x.shape[axis]:
            raise error(ValueError, "pad", "axes to take from", x.shape, "pad with a constant")
        y = xp.take(y, xp.asarray(_places(x.shape[axis], front, back, mode)), axis)
    return contiguous(y if y.base is None else y.copy()).view(x.dtype)


@quiet
def pad_backward(grad: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str) -> Array:
    xp = namespace(grad)
    shape = tuple(n - a - b for n, a, b in zip(grad.shape, before, after, strict=True))
    if mode == "constant":
        return copy(grad[_inside(before, shape)], False)
    found = wide(grad)
    for axis, (front, back) in enumerate(zip(before, after, strict=True)):
        if front or back:
            places = xp.asarray(_places(shape[axis], front, back, mode))
            found = added_rows(found.swapaxes(0, axis), places, shape[axis]).swapaxes(0, axis)
    return copy(found, False).astype(grad.dtype)
