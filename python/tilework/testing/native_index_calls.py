"""Valid calls of the compiled engine's moves: order, indices, masks, copies; as native_calls.py has
the others."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

from tilework.testing.call_parts import (
    Arguments,
    Generator,
    Given,
    Maker,
    products,
    shape_and_axis,
    shape_of,
)


def _ordered(rng: Generator) -> Maker:
    return Maker(rng, np.float32, np.float64, ml_dtypes.bfloat16, np.int64, np.int32, np.uint8)


def _sort(rng: Generator) -> Arguments:
    make = _ordered(rng)
    shape, axis = shape_and_axis(make)
    return {"x": make.array(*shape), "axis": axis, "descending": make.flag()}


def _topk(rng: Generator) -> Arguments:
    make = _ordered(rng)
    shape, axis = shape_and_axis(make)
    return {"x": make.array(*shape), "k": 1, "axis": axis, "largest": make.flag()}


def _along(make: Maker) -> tuple[tuple[int, ...], int, Arguments]:
    """(shape, axis, and x, the axis and an index of the shape)."""
    shape, axis = shape_and_axis(make)
    index = make.index(shape[axis], *shape)
    return shape, axis, {"x": make.array(*shape), "axis": axis, "index": index}


def _listed(make: Maker) -> tuple[tuple[int, ...], Arguments]:
    """(the shape of five slices of x, and x, an axis and a list of them)."""
    shape, axis = shape_and_axis(make)
    index = make.index(shape[axis], 5)
    slices = (*shape[:axis], 5, *shape[axis + 1 :])
    return slices, {"x": make.array(*shape), "axis": axis, "index": index}


def _gather(rng: Generator) -> Arguments:
    make = _ordered(rng)
    return {**_along(make)[2], "wraps": make.flag()}


def _index_select(rng: Generator) -> Arguments:
    make = _ordered(rng)
    return {**_listed(make)[1], "wraps": make.flag()}


def _scatter(rng: Generator) -> Arguments:
    make = _ordered(rng)
    shape, _, given = _along(make)
    return {**given, "source": make.one_of(make.array(*shape), make.array())}


def _index_copy(rng: Generator) -> Arguments:
    make = _ordered(rng)
    shape, given = _listed(make)
    return {**given, "source": make.one_of(make.array(*shape), make.array())}


def _scatter_reduce(rng: Generator) -> Arguments:
    make = _ordered(rng)
    shape, _, given = _along(make)
    how = make.one_of(make.one_of("amax", "amin"), "sum", "prod")
    if make.dtype in (np.float32, np.float64, ml_dtypes.bfloat16):
        how = make.one_of(how, "mean")
    return {**given, "source": make.array(*shape), "how": how, "include_self": make.flag()}


def _scatter_add(rng: Generator) -> Arguments:
    make = products(rng)
    shape, _, given = _along(make)
    return {**given, "shape": shape, "wraps": make.flag()}


def _index_add(rng: Generator) -> Arguments:
    make = products(rng)
    shape, axis = shape_and_axis(make)
    before = make.maybe(make.array(*shape[:axis], 4, *shape[axis + 1 :]))
    index = make.index(4, shape[axis])
    return {
        "x": make.array(*shape), "axis": axis, "index": index, "rows": 4, "start": before,
        "wraps": make.flag(),
    }  # fmt: skip


def _segments(rng: Generator, largest: bool) -> Arguments:
    make = products(rng)
    rows = make.size()
    given = {"x": make.array(rows, make.size(40)), "index": make.index(4, rows), "count": 4}
    return given if largest else {**given, "skipped": make.one_of(-1, 2), "mean": make.flag()}


def _bags(rng: Generator, way: str) -> Arguments:
    make = products(rng)
    entries, rows, columns = 9, 4, make.size(40)
    starts = np.array(make.one_of([0, 0, 2, 7], [0], [0, 9]), np.int64)
    bags = {"index": make.index(rows, entries), "offsets": Given(starts)}
    table, grad = make.array(rows, columns), make.array(starts.size, columns)
    padding = make.one_of(-1, 2)
    mode = make.one_of("sum", "mean", "max") if way == "forward" else "sum"
    weights = make.maybe(make.array(entries)) if mode == "sum" else None
    if way == "forward":
        return {"table": table, **bags, "weights": weights, "mode": mode, "padding": padding}
    if way == "weights":
        return {"grad": grad, "table": table, **bags, "padding": padding}
    return {
        "grad": grad, **bags, "weights": weights, "mean": make.flag(), "rows": rows,
        "padding": padding, "by_frequency": make.flag(),
    }  # fmt: skip


def _truths(make: Maker, *shape: int) -> Given:
    return Given(make.index(2, *shape).values.astype(np.bool_))


def _where(rng: Generator) -> Arguments:
    make = _ordered(rng)
    shape = shape_of(make)
    operands = [make.one_of(make.array(*shape), make.array()) for _ in range(2)]
    return {"condition": _truths(make, *shape), "a": operands[0], "b": operands[1]}


def _masked(rng: Generator, way: str) -> Arguments:
    make = _ordered(rng)
    shape = shape_of(make)
    x, mask = make.array(*shape), _truths(make, *shape)
    if way == "select":
        return {"x": x, "mask": mask}
    return {"x": make.maybe(x), "mask": mask, "source": make.array(*shape)}


def _nonzero(rng: Generator) -> Arguments:
    make = _ordered(rng)
    return {"x": make.array(*shape_of(make)), "by_axis": make.flag()}


def _pad(rng: Generator, backward: bool = False) -> Arguments:
    make = Maker(rng) if backward else _ordered(rng)
    shape = shape_of(make)
    mode = make.one_of("constant", "replicate", "circular", *("reflect",) * (min(shape) > 1))
    most = 3 if mode in ("constant", "replicate") else 2
    before, after = (tuple(make.size(most + 1) - 1 for _ in shape) for _ in range(2))
    if backward:
        grown = (b + n + a for b, n, a in zip(before, shape, after, strict=True))
        return {"grad": make.array(*grown), "before": before, "after": after, "mode": mode}
    return {
        "x": make.array(*shape), "before": before, "after": after, "mode": mode,
        "value": make.array(),
    }  # fmt: skip


def _copy(rng: Generator) -> Arguments:
    make = _ordered(rng)
    return {"x": make.array(*shape_of(make)), "keep_layout": make.flag()}


def _joined(rng: Generator, stacked: bool) -> Arguments:
    make = _ordered(rng)
    shape = shape_of(make)
    axis = make.one_of(*range(len(shape) + stacked))
    return {"arrays": [make.array(*shape) for _ in range(make.size(4))], "axis": axis}


CALLS: dict[str, Callable[[Generator], Arguments]] = {
    "sort": _sort,
    "topk": _topk,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "index_add": _index_add,
    "index_select": _index_select,
    "scatter": _scatter,
    "index_copy": _index_copy,
    "scatter_reduce": _scatter_reduce,
    "segment_sum": lambda rng: _segments(rng, False),
    "segment_max": lambda rng: _segments(rng, True),
    "embedding_bag_forward": lambda rng: _bags(rng, "forward"),
    "embedding_bag_backward": lambda rng: _bags(rng, "backward"),
    "embedding_bag_weights_backward": lambda rng: _bags(rng, "weights"),
    "where": _where,
    "masked_select": lambda rng: _masked(rng, "select"),
    "masked_scatter": lambda rng: _masked(rng, "scatter"),
    "nonzero": _nonzero,
    "pad": _pad,
    "pad_backward": lambda rng: _pad(rng, backward=True),
    "copy": _copy,
    "concatenate": lambda rng: _joined(rng, False),
    "stack": lambda rng: _joined(rng, True),
}
