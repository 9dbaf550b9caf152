"""How a kernel walks arrays by their strides: axes in memory's order, and neighbours merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tilework.arrays import address
from tilework.engines.cuda.launch import blocks_for, launch, memory_order

Array = Any
Strides = tuple[int, ...]
KERNEL_AXES = 5  # kAxes of csrc/base/elementwise.cuh
THREADS = 256  # and its kElementThreads
PACK_BYTES = 16
_NEAR = 2**31


class Axes(NamedTuple):
    """The axes that several operands are walked along, outermost first.

    >>> merged((2, 3, 4), [(12, 4, 1), (0, 4, 1)])
    Axes(sizes=(2, 12), strides=((12, 1), (0, 1)))
    """

    sizes: tuple[int, ...]
    strides: tuple[Strides, ...]  # of each operand

    def is_near(self) -> bool:
        """Whether 32 bits hold every offset, and the number of every thread."""
        reach = max(
            sum(abs(s) * (n - 1) for s, n in zip(strides, self.sizes, strict=True))
            for strides in self.strides
        )
        return max(reach, math.prod(self.sizes) + THREADS) < _NEAR


def in_front(fill: int, of: Sequence[int]) -> list[int]:
    """`of` as a kernel's KERNEL_AXES parameters: `fill` for the axes that are not there."""
    return [fill] * (KERNEL_AXES - len(of)) + list(of)


def strides_under(x: Array, shape: tuple[int, ...]) -> Strides | None:
    """x's strides in elements along the axes of `shape`, 0 where x is broadcast; None where they
    are no multiple of an element."""
    size: int = x.itemsize
    added: int = len(shape) - x.ndim
    if any(s % size for s in x.strides):
        return None
    own: list[int] = [0 if n == 1 else s // size for n, s in zip(x.shape, x.strides, strict=True)]
    return (0,) * added + tuple(own)


def merged(shape: tuple[int, ...], strides: Sequence[Strides]) -> Axes:
    """`shape` without axes of length 1, in the order in which the first operand's memory has them,
    with neighbours as one where every operand walks them as one."""
    order = [i for i, n in enumerate(shape) if n != 1]
    order.sort(key=lambda i: -abs(strides[0][i]))
    sizes: list[int] = []
    steps: list[list[int]] = []  # of each axis, for every operand
    for i in order:
        here = [s[i] for s in strides]
        if sizes and all(
            outer == inner * shape[i] for outer, inner in zip(steps[-1], here, strict=True)
        ):
            sizes[-1] *= shape[i]
            steps[-1] = here
        else:
            sizes.append(shape[i])
            steps.append(here)
    if not sizes:
        sizes, steps = [1], [[0] * len(strides)]
    return Axes(tuple(sizes), tuple(zip(*steps, strict=True)))


def of_arrays(shape: tuple[int, ...], arrays: Sequence[Array]) -> Axes | None:
    """merged(), of arrays that broadcast to `shape`; None where a kernel cannot walk them."""
    strides = [strides_under(x, shape) for x in arrays]
    if None in strides:
        return None
    found = merged(shape, strides)  # type: ignore[arg-type]
    return None if len(found.sizes) > KERNEL_AXES else found


def walk(kernel: str, dtype: str, axes: Axes, arrays: Sequence[Array]) -> None:
    """Launches `kernel`_strided_`dtype` over the arrays that the axes are of, the result first, or
    `kernel`_far_`dtype` where 32 bits do not reach."""
    places = [address(x) for x in arrays]
    lanes = PACK_BYTES // arrays[0].itemsize
    whole = _whole_packs(axes, lanes, places, [x.itemsize for x in arrays])
    groups = math.prod(axes.sizes) // (lanes if whole >= 0 else 1)
    parameters = in_front(1, axes.sizes)
    for strides in axes.strides:
        parameters += in_front(0, strides)
    launch(
        f"{kernel}_{'strided' if axes.is_near() else 'far'}_{dtype}",
        blocks_for(groups, THREADS), THREADS, *places, groups, len(axes.sizes), whole, *parameters,
    )  # fmt: skip


def _whole_packs(axes: Axes, lanes: int, places: Sequence[int], itemsizes: Sequence[int]) -> int:
    """Which operands are read and written by packs of `lanes` elements along the last axis: bit i
    of the i-th; -1 where the axis is no multiple of that, and all go by single elements."""
    if axes.sizes[-1] % lanes:
        return -1
    found = 0
    for i, (strides, place, size) in enumerate(zip(axes.strides, places, itemsizes, strict=True)):
        fits = strides[-1] == 1 and place % (size * lanes) == 0
        found |= (fits and not any(s % lanes for s in strides[:-1])) << i
    return found


def same_layout(x: Array, *others: Array) -> bool:
    """Whether all are dense, of one shape, and lie in memory in one order."""
    if x.flags.c_contiguous:
        return all(y.shape == x.shape and y.flags.c_contiguous for y in others)
    for y in others:
        if y.shape != x.shape:
            return False
        for n, s, t in zip(x.shape, x.strides, y.strides, strict=True):
            if n != 1 and s * y.itemsize != t * x.itemsize:
                return False
    return memory_order(x) is not None
