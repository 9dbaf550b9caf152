"""Every way an operand of one shape may lie in memory, and a case's answers under each.

The judge is the same case on contiguous copies: whatever the strides, what an op is given are the
numbers, and nothing outside of them is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import tilework as tw
from tilework import functional as F
from tilework.dtypes import is_float
from tilework.testing.case import Array, Case, as_float64
from tilework.testing.inputs import Shape
from tilework.testing.runner import cotangent, failure, gradient_bound, to_tensors
from tilework.testing.tolerance import assert_close

# What tells how its operand lies: its answer is the strides, or goes by them.
TELLING = ("stride", "storage_offset", "is_contiguous", "data_ptr")
MARGIN = 64  # elements of NaN on either side of an operand: what reads beyond it shows it


def _dense(shape: Sequence[int], order: Sequence[int]) -> list[int]:
    """Strides in elements of a dense array whose axes go from the slowest to the fastest."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return strides


def _orders(ndim: int) -> Iterator[tuple[int, ...]]:
    """Orders of the axes in memory: all of up to three, the telling ones of more."""
    every = tuple(range(ndim))
    if ndim <= 3:
        yield from itertools.permutations(every)
        return
    yield every
    yield every[::-1]
    yield (0, *every[2:], 1)  # channels last
    yield (*every[:-2], ndim - 1, ndim - 2)
    yield (1, 0, *every[2:])


def _expanded_axes(ndim: int) -> Iterator[tuple[int, ...]]:
    """Axes that share one element: all sets of up to three axes; of more, single ones, all but
    one, and all."""
    every = range(ndim)
    for count in range(1, ndim + 1):
        if ndim <= 3 or count in (1, ndim - 1, ndim):
            yield from itertools.combinations(every, count)


def patterns(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Strides in elements for an array of `shape`, by the pattern's name, contiguous left out.

    Dense in each order; each axis backwards, and all; stride 0 along any axes, the others dense in
    either direction (of a matrix: (0, 1), (1, 0) and (0, 0)); equal strides; every other element of
    an axis; and axes of size 1 with strides that fit nothing.

    >>> sorted(set(patterns((3, 4)).values()))
    [(-4, -1), (-4, 1), (0, 0), (0, 1), (1, 0), (1, 1), (1, 3), (4, -1), (8, 1), (8, 2)]
    """
    ndim, every = len(shape), tuple(range(len(shape)))
    plain = _dense(shape, every)
    found: dict[str, tuple[int, ...]] = {}
    for order in _orders(ndim):
        found[f"axes {order}"] = tuple(_dense(shape, order))
    for axes in [(i,) for i in every] + [every]:
        found[f"backwards {axes}"] = tuple(-s if i in axes else s for i, s in enumerate(plain))
    for axes in _expanded_axes(ndim):
        kept = [1 if i in axes else n for i, n in enumerate(shape)]
        for word, order in (("", every), (", transposed", every[::-1])):
            strides = _dense(kept, order)
            found[f"expanded {axes}{word}"] = tuple(
                0 if i in axes else s for i, s in enumerate(strides)
            )
    if ndim > 1:
        found["equal"] = (1,) * ndim
        window = shape[-2] + shape[-1] - 1
        found["windows"] = (*(s * window for s in _dense(shape[:-2], every[:-2])), 1, 1)
    for i in every:
        found[f"gaps {i}"] = tuple(s * 2 if j <= i else s for j, s in enumerate(plain))
    if 1 in shape:
        for word, step in (("zero", 0), ("odd", 7), ("backwards", -3), ("huge", 1 << 40)):
            found[f"size 1: {word}"] = tuple(
                step if n == 1 else s for n, s in zip(shape, plain, strict=True)
            )
    seen = {tuple(plain)}
    return {k: v for k, v in found.items() if not (v in seen or seen.add(v))}  # type: ignore[func-returns-value]


def overlaps(shape: Shape, strides: Sequence[int]) -> bool:
    """Whether two indices of the patterns' strides meet one element."""
    steps = sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n > 1)
    reach = 0
    for step, n in steps:
        if step <= reach:
            return True
        reach += step * (n - 1)
    return False


def laid(x: Array, strides: Sequence[int]) -> Array:
    """An array of `x`'s shape with these strides, between NaNs. It holds `x`'s numbers; where
    elements overlap, some of them."""
    spans = [(n - 1) * s for n, s in zip(x.shape, strides, strict=True) if n > 1] if x.size else []
    low, high = sum(s for s in spans if s < 0), sum(s for s in spans if s > 0)
    base = np.full(high - low + 1 + 2 * MARGIN, np.nan, x.dtype)
    view = np.lib.stride_tricks.as_strided(
        base[MARGIN - low :], x.shape, [s * x.itemsize for s in strides]
    )
    view[...] = x
    return view


# --- a case under each ---


def _answers(case: Case, inputs: tuple[Any, ...], grad: Array | None) -> tuple[Array, ...]:
    """What a call gives, what it writes, and with a gradient the inputs' gradients."""
    tensors = to_tensors(inputs, () if grad is None else case.differentiable)
    out = case.bind(tw, F, tensors)()
    found = [out.detach().numpy(), *(tensors[i].detach().numpy() for i in case.writes)]
    if grad is not None:
        out.backward(tw.from_numpy(grad))
        found += [tensors[i].grad.numpy() for i in case.differentiable]
    return tuple(found)


def _in_c_order(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(np.array(x, order="C") if isinstance(x, np.ndarray) else x for x in inputs)


def _compare(case: Case, dtype: str, inputs: tuple[Any, ...], grad: Array | None) -> None:
    """Raises AssertionError where the answers are not those of contiguous copies."""
    copies = _in_c_order(inputs)
    wide = as_float64(copies)  # before the call writes to any
    expected = _answers(case, copies, None if grad is None else np.array(grad, order="C"))
    found = _answers(case, inputs, grad)
    outputs = 1 + len(case.writes)
    for number, (actual, right) in enumerate(zip(found, expected, strict=True)):
        what = f"gradient {number - outputs}" if number >= outputs else f"output {number}"
        if not is_float(right.dtype):
            assert_close(actual, right, 0.0, what)
            continue
        judge = right.astype(np.float64)
        if number == 0:
            bound = 2.0 * case.tolerance(dtype, judge, *wide)  # either may err
        else:
            bound = 2.0 * gradient_bound(case, dtype, copies, judge)
            if grad is not None and number >= outputs:
                # Under a gradient of equal numbers the terms of a sum may cancel: they are larger
                # than it by the root of their count.
                bound *= max(1.0, grad.size / max(judge.size, 1)) ** 0.5
        assert_close(actual, judge, bound, what)


def failures(case: Case, dtype: str) -> list[str]:
    """A line for each operand, the gradient that flows in among them, and each pattern under which
    the engine at work answers otherwise than for contiguous arrays."""
    start = case.make_inputs(dtype)
    # Whose numbers go by the place in dense memory.
    by_place = case.family == "random" or case.op in ("Dropout", "gumbel_softmax")
    if by_place:
        start = _in_c_order(start)
    grad = None
    if case.differentiable:
        grad = cotangent(case, _answers(case, start, None)[0])
    args: tuple[tuple[Any, ...], Array | None]
    operands: list[tuple[Any, Array]] = [
        (i, x) for i, x in enumerate(start) if isinstance(x, np.ndarray) and is_float(x.dtype)
    ]
    if grad is not None:
        operands.append(("grad", grad))
    found = []
    with np.errstate(all="ignore"):
        for place, x in operands:
            for name, strides in patterns(x.shape).items():
                if place in case.writes and overlaps(x.shape, strides):
                    continue
                if by_place and name.startswith("axes"):
                    continue
                moved = laid(x, strides)
                if place == "grad":
                    args = (start, moved)
                else:
                    fresh = case.make_inputs(dtype) if case.writes else start
                    args = ((*fresh[:place], moved, *fresh[place + 1 :]), grad)
                if line := failure(partial(_compare, case, dtype), *args):
                    found.append(f"{case} {dtype}: operand {place}, {name} {strides}: {line}")
    return found


def chosen(cases: Sequence[Case], most: int | None = None, elements: int = 3000) -> list[Case]:
    """The quick cases with at most so many elements in their arrays; of each op at most `most`, of
    all its shapes and parameters."""
    ops: dict[str, dict[Any, Case]] = {}
    for case in (c for c in cases if c.quick and c.op not in TELLING):
        inputs = case.make_inputs(case.dtypes[0])
        shapes = [x.shape if isinstance(x, np.ndarray) else x for x in inputs]
        if sum(x.size for x in inputs if isinstance(x, np.ndarray)) <= elements:
            key = case if most is None else str(shapes)
            ops.setdefault(case.op, {}).setdefault(key, case)
    found = []
    for several in (list(of_op.values()) for of_op in ops.values()):
        step = 1 if most is None else -(-len(several) // most)
        found += several[::step]
    return found
