"""Copies between layouts, by NumPy's."""

from collections.abc import Sequence

import numpy as np

from tilework.engines.numba.layout import Array, empty_like
from tilework.errors import error


def copy(x: Array, keep_layout: bool) -> Array:
    out = empty_like(x) if keep_layout else np.empty(x.shape, x.dtype)
    out[...] = x
    return out


def expand(x: Array, shape: tuple[int, ...]) -> Array:
    added = len(shape) - x.ndim
    fronted = (1,) * added + x.shape
    wanted = tuple(x.shape[i - added] if n == -1 and i >= added else n for i, n in enumerate(shape))
    seen = np.broadcast_to(x, wanted)
    return x[(None,) * added + (...,)] if seen.shape == fronted else seen


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    _check_dtypes("cat", arrays)
    return np.concatenate(arrays, axis)


def stack(arrays: Sequence[Array], axis: int) -> Array:
    _check_dtypes("stack", arrays)
    if not arrays or not 0 <= axis <= arrays[0].ndim:
        raise error(ValueError, "stack", "arrays, and an axis", axis, "count it from the front")
    return np.stack(arrays, axis)


_PAD = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    x: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str, value: Array
) -> Array:
    pairs = list(zip(before, after, strict=True))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=value.item())
    for axis, pair in enumerate(pairs):  # NumPy's wrap of nothing gives nothing
        if max(pair) > 0 and not x.shape[axis]:
            raise error(ValueError, "pad", "axes to take from", x.shape, "pad with a constant")
    return np.pad(x, pairs, mode=_PAD[mode])  # type: ignore[call-overload,no-any-return]


def pad_backward(grad: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str) -> Array:
    for axis, (front, back) in enumerate(zip(before, after, strict=True)):
        n = grad.shape[axis] - front - back
        if mode == "constant":
            places = np.arange(front, front + n)
            grad = np.take(grad, places, axis)
        elif front or back:
            places = np.pad(np.arange(n), (front, back), mode=_PAD[mode])  # type: ignore[call-overload]
            total = np.zeros((n, *np.moveaxis(grad, axis, 0).shape[1:]), grad.dtype)
            np.add.at(total, places, np.moveaxis(grad, axis, 0))
            grad = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(grad)


def _check_dtypes(op: str, arrays: Sequence[Array]) -> None:
    dtypes = {x.dtype for x in arrays}
    if len(dtypes) > 1:
        raise error(TypeError, op, "arrays of one dtype", dtypes, "convert them")
