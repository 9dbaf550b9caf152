"""Copies: between layouts, beyond edges, one array behind another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tilework.arrays import address
from tilework.engines import cupy
from tilework.engines.cuda.axes import (
    KERNEL_AXES,
    PACK_BYTES,
    THREADS,
    Axes,
    in_front,
    of_arrays,
    same_layout,
    strides_under,
    walk,
)
from tilework.engines.cuda.launch import (
    blocks_for,
    contiguous,
    empty,
    empty_as,
    launch,
    memory_order,
)
from tilework.engines.cuda.names import FLOATS
from tilework.errors import error

__all__ = ["concatenate", "copy", "pad", "pad_backward", "stack"]

Array = Any
# By the size of an element; a pack has 16 bytes.
WORDS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}
_SIDE, _OUTER = 32, 3  # of a tile; and the axes around it
_FEWEST = 8  # elements along each of a tile's axes
_FLAT_BYTES = 2 * 16 * THREADS  # of a block, as in copy.cuh


def copy(x: Array, keep_layout: bool) -> Array:
    made = empty_as(x) if keep_layout else empty(x, x.shape)
    copy_into(made, x)
    return made


def copy_into(to: Array, x: Array) -> None:
    """Writes x's elements to `to`, an array of its shape and dtype in any layout."""
    word = WORDS.get(x.itemsize)
    if same_layout(to, x) and word is not None:
        launch("copy_bytes", blocks_for(x.nbytes, _FLAT_BYTES), THREADS, to, x, x.nbytes)
        return
    axes = None if word is None else of_arrays(x.shape, [to, x])
    if axes is None:
        to[...] = x
    elif (turned := _turned(axes)) is not None:
        launch(f"copy_turned_{word}", turned.blocks, THREADS, to, x, *turned.parameters)
    else:
        walk("copy", str(word), axes, [to, x])


class _Turned(NamedTuple):
    """A launch of copy_turned."""

    blocks: int
    parameters: list[int]


def _turned(axes: Axes) -> _Turned | None:
    """How to copy by turning tiles: None where both sides have the same neighbours, or tiles would
    be mostly empty."""
    to, x = axes.strides
    inner = len(axes.sizes) - 1
    across = next((i for i in range(inner) if x[i] == 1), None)
    outer = [i for i in range(inner) if i != across]
    if across is None or to[inner] != 1 or x[inner] == 1 or len(outer) > _OUTER:
        return None
    rows, cols = axes.sizes[inner], axes.sizes[across]
    if min(rows, cols) < _FEWEST:
        return None
    sizes, fill = [axes.sizes[i] for i in outer], [0] * (_OUTER - len(outer))
    blocks = blocks_for(rows, _SIDE) * blocks_for(cols, _SIDE) * math.prod(sizes)
    _, n1, n2 = [1] * len(fill) + sizes
    steps = [*fill, *(to[i] for i in outer), *fill, *(x[i] for i in outer)]
    return _Turned(blocks, [rows, cols, to[across], x[inner], n1, n2, *steps])


def dense(x: Array) -> Array:
    """`x` where its memory is one dense run, in whatever order; else a copy in C order."""
    return x if x.flags.c_contiguous or memory_order(x) is not None else copy(x, False)


def laid_as(x: Array, model: Array) -> Array:
    """`x` where it lies in memory as the dense `model` does, else a copy that does."""
    if same_layout(model, x):
        return x
    made = empty_as(model, x.dtype)
    copy_into(made, x)
    return made


def at_packs(*arrays: Array) -> bool:
    """Whether all begin at 16 bytes."""
    return not any(address(x) % 16 for x in arrays)


# --- joins ---


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    first = _checked("cat", arrays, axis, arrays[0].ndim if arrays else 0)
    for x in arrays:
        if x.shape[:axis] + x.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]:
            raise error(
                ValueError, "cat", f"shapes as {first.shape} but along axis {axis}", x.shape,
                "make them alike",
            )  # fmt: skip
    length = sum(x.shape[axis] for x in arrays)
    made = empty(first, (*first.shape[:axis], length, *first.shape[axis + 1 :]))
    begin = 0
    for x in arrays:
        end = begin + x.shape[axis]
        copy_into(made[(slice(None),) * axis + (slice(begin, end),)], x)
        begin = end
    return made


def stack(arrays: Sequence[Array], axis: int) -> Array:
    first = _checked("stack", arrays, axis, arrays[0].ndim + 1 if arrays else 0)
    for x in arrays:
        if x.shape != first.shape:
            raise error(ValueError, "stack", f"shapes as {first.shape}", x.shape, "make them alike")
    made = empty(first, (*first.shape[:axis], len(arrays), *first.shape[axis:]))
    for i, x in enumerate(arrays):
        copy_into(made[(slice(None),) * axis + (slice(i, i + 1),)].reshape(x.shape), x)
    return made


def _checked(op: str, arrays: Sequence[Array], axis: int, axes: int) -> Array:
    """The first of the arrays."""
    if not arrays or not 0 <= axis < axes:
        raise error(ValueError, op, "arrays, and an axis", axis, "count it from the front")
    dtypes = {x.dtype for x in arrays}
    if len(dtypes) > 1:
        raise error(TypeError, op, "arrays of one dtype", dtypes, "convert them")
    return arrays[0]


# --- borders ---

_MODES = {"constant": 0, "reflect": 1, "replicate": 2, "circular": 3}


class _Grown(NamedTuple):
    """Axes that padding walks: of x, what stands before, after, and x's strides."""

    sizes: list[int]
    before: list[int]
    after: list[int]
    strides: list[int]

    def total(self) -> list[int]:
        return [b + n + a for b, n, a in zip(self.before, self.sizes, self.after, strict=True)]


def _grown(x: Array, before: tuple[int, ...], after: tuple[int, ...]) -> _Grown:
    """Neighbours that do not grow as one, where x's memory has them so."""
    found = _Grown([], [], [], [])
    strides = strides_under(x, x.shape) or ()
    for n, front, back, stride in zip(x.shape, before, after, strides, strict=True):
        merges = found.sizes and not (front or back or found.before[-1] or found.after[-1])
        if merges and (n == 1 or found.strides[-1] == stride * n):
            found.sizes[-1] *= n
            found.strides[-1] = stride if n != 1 else found.strides[-1]
            continue
        for kept, value in zip(found, (n, front, back, stride), strict=True):
            kept.append(value)
    if not found.sizes:
        return _Grown([1], [0], [0], [0])
    return found


def pad(
    x: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str, value: Array
) -> Array:
    word = WORDS.get(x.itemsize)
    given = x if strides_under(x, x.shape) is not None else contiguous(x)
    axes = _grown(given, before, after)
    if word is None or len(axes.sizes) > KERNEL_AXES:
        return cupy.pad(x, before, after, mode, value)
    for n, front, back in zip(x.shape, before, after, strict=True):
        most = max(front, back)
        room = {"reflect": n - 1, "circular": n}.get(mode, most if n else 0)
        if mode != "constant" and most > room:
            raise error(
                ValueError, "pad", f"{mode} paddings of at most {room} along an axis of {n}", most,
                "pad with a constant, or by less",
            )  # fmt: skip
    total = axes.total()
    y = empty(x, tuple(a + n + b for a, n, b in zip(before, x.shape, after, strict=True)))
    lanes, still = PACK_BYTES // x.itemsize, not (axes.before[-1] or axes.after[-1])
    whole = -1
    if still and total[-1] % lanes == 0:
        by_packs = axes.strides[-1] == 1 and at_packs(given)
        whole = 1 | (by_packs and not any(s % lanes for s in axes.strides[:-1])) << 1
    groups = y.size // (lanes if whole >= 0 else 1)
    near = Axes(tuple(total), (tuple(axes.strides),)).is_near()
    launch(
        f"pad_{'strided' if near else 'far'}_{word}", blocks_for(groups, THREADS), THREADS,
        y, given, value, _MODES[mode], groups, len(total), whole,
        *in_front(1, total), *in_front(1, axes.sizes), *in_front(0, axes.before),
        *in_front(0, axes.strides),
    )  # fmt: skip
    return y


def pad_backward(grad: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str) -> Array:
    dtype = FLOATS.get(grad.dtype.name)
    if dtype is None:
        return cupy.pad_backward(grad, before, after, mode)
    if mode == "constant":
        inside = (slice(a, n - b) for n, a, b in zip(grad.shape, before, after, strict=True))
        return copy(grad[tuple(inside)], False)
    found = contiguous(grad)
    for axis, (front, back) in enumerate(zip(before, after, strict=True)):
        if not (front or back):
            continue
        shape = found.shape
        n, inner = shape[axis] - front - back, math.prod(shape[axis + 1 :])
        dx = empty(found, (*shape[:axis], n, *shape[axis + 1 :]))
        launch(
            f"pad_backward_{dtype}", blocks_for(dx.size, THREADS), THREADS, dx, found,
            _MODES[mode], math.prod(shape[:axis]), n, inner, front, back,
        )  # fmt: skip
        found = dx
    return copy(found, False) if found is grad else found
