"""Tensors laid beside each other, turned and cut: made of moves that are recorded."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import broadcast_shapes
from tilework.devices import Device, namespace_on, resolved
from tilework.errors import error, word
from tilework.functional.common import axis, operand, room_for, sizes, whole
from tilework.functional.creation import converted
from tilework.functional.indexing import index_select
from tilework.functional.join import cat, narrow, stack
from tilework.functional.masks import nonzero
from tilework.functional.rearrange import flip
from tilework.functional.reduce import sum
from tilework.functional.shape import broadcast_to, reshape, transpose
from tilework.tensor import Tensor, fresh, tensor_method

_MOST = 2**20  # parts, or elements chosen at once


def _tensors(op: str, tensors: Any) -> list[Tensor]:
    """f(a, b) and f([a, b])."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    return [operand(t, op, f"tensor {i}") for i, t in enumerate(given)]


def _matrices(op: str, tensors: Any) -> list[Tensor]:
    """The tensors, vectors as rows."""
    return [t.reshape(1, -1) if t.ndim < 2 else t for t in _tensors(op, tensors)]


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """A grid of each vector's values over the axes of all: (n,) and (m,) to two of (n, m) by
    "ij", or (m, n) by "xy". "ij" where none is named, as in PyTorch. ValueError on what is no
    vector, or another word.

    >>> rows, columns = tw.meshgrid(tw.arange(2), tw.arange(3), indexing="ij")
    >>> rows
    tensor([[0, 0, 0],
            [1, 1, 1]])
    """
    given = _tensors("meshgrid", tensors)
    if indexing not in (None, "ij", "xy"):
        raise error(ValueError, "meshgrid", 'indexing "ij" or "xy"', word(indexing), "name one")
    if not given or any(t.ndim > 1 for t in given):
        raise error(
            ValueError, "meshgrid", "vectors", [tuple(t.shape) for t in given], "flatten them"
        )
    swapped = indexing == "xy" and len(given) > 1
    if swapped:
        given[:2] = given[1::-1]
    shape = [t.numel() for t in given]
    grids = [
        t.reshape([-1 if i == j else 1 for j in range(len(given))]).expand(shape)
        for i, t in enumerate(given)
    ]
    if swapped:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors as views of the shape that theirs broadcast to. ValueError where they do not.

    >>> [t.shape for t in tw.broadcast_tensors(tw.ones(3, 1), tw.ones(4))]
    [(3, 4), (3, 4)]
    """
    given = _tensors("broadcast_tensors", tensors)
    shape = broadcast_shapes(*(t.shape for t in given))
    return tuple(broadcast_to(t, shape) for t in given)


def cartesian_prod(*tensors: Any) -> Tensor:
    """All tuples of one element of each vector, in order: (the product of their lengths, their
    count).

    >>> tw.cartesian_prod(tw.tensor([1, 2]), tw.tensor([3, 4])).tolist()
    [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    given = _tensors("cartesian_prod", tensors)
    if len(given) == 1:
        return given[0].clone()
    return stack([g.reshape(-1) for g in meshgrid(*given)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to choose `r` elements of a vector, in order, (the number of them, r).

    >>> tw.combinations(tw.tensor([1, 2, 3])).tolist()
    [[1, 2], [1, 3], [2, 3]]
    """
    x = operand(input, "combinations")
    r = whole("combinations", "r", r)
    if x.ndim != 1 or r < 0:
        raise error(ValueError, "combinations", "a vector and r from 0", (x.shape, r), "flatten it")
    n = x.shape[0]
    if r > _MOST:
        raise error(ValueError, "combinations", f"r up to {_MOST}", r, "lower it")
    room_for("combinations", (r, math.comb(n + r - 1 if with_replacement and n else n, r)))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    chosen = list(choose(range(x.shape[0]), r)) if r else []
    places = x.new_tensor(chosen, dtype=dtypes.int64).reshape(-1)
    return index_select(x, 0, places).reshape(len(chosen), r) if r else x.new_empty(0)


# --- beside each other ---


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 1, vectors along axis 0.

    >>> tw.hstack([tw.tensor([1]), tw.tensor([2])])
    tensor([1, 2])
    """
    given = [t.reshape(1) if not t.ndim else t for t in _tensors("hstack", (tensors,))]
    return cat(given, 0 if given and given[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 0, vectors as rows.

    >>> tw.vstack([tw.tensor([1, 2]), tw.tensor([3, 4])]).shape
    (2, 2)
    """
    return cat(_matrices("vstack", (tensors,)), 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 2, which is added where it lacks: (n,) as (1, n, 1), (m, n) as (m, n, 1).

    >>> tw.dstack([tw.tensor([1, 2]), tw.tensor([3, 4])]).shape
    (1, 2, 2)
    """
    given = _matrices("dstack", (tensors,))
    return cat([t.unsqueeze(2) if t.ndim == 2 else t for t in given], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 1, vectors as columns.

    >>> tw.column_stack([tw.tensor([1, 2]), tw.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    given = _tensors("column_stack", (tensors,))
    return cat([t.reshape(-1, 1) if t.ndim < 2 else t for t in given], 1)


def block_diag(*tensors: Any) -> Tensor:
    """Matrices along a diagonal, zeros beside them; vectors are rows.

    >>> tw.block_diag(tw.tensor([[1]]), tw.tensor([[2, 3]]))
    tensor([[1, 0, 0],
            [0, 2, 3]])
    """
    blocks = _matrices("block_diag", tensors)
    if not blocks or any(t.ndim > 2 for t in blocks):
        raise error(ValueError, "block_diag", "matrices", [t.shape for t in blocks], "reshape them")
    wide = builtins.sum(t.shape[1] for t in blocks)
    rows, start = [], 0
    for t in blocks:
        after = wide - start - t.shape[1]
        zeros = [t.new_zeros((t.shape[0], n)) for n in (start, after)]
        rows.append(cat([zeros[0], t, zeros[1]], 1))
        start += t.shape[1]
    return cat(rows, 0)


# --- turned and cut ---


@tensor_method()
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """The elements moved on by `shifts` along the axes `dims`, what falls off coming in again; of
    the flattened tensor where no axis is named. ValueError where there are not as many shifts.

    >>> tw.roll(tw.arange(4), 1)
    tensor([3, 0, 1, 2])
    """
    x = operand(input, "roll")
    steps = sizes("roll", (shifts,))
    if dims is None:
        if len(steps) != 1:
            raise error(ValueError, "roll", "one shift of all elements", steps, "name the axes")
        return _rolled(x.reshape(-1), steps[0], 0).reshape(x.shape)
    over = sizes("roll", (dims,))
    if len(over) != len(steps):
        raise error(ValueError, "roll", f"{len(over)} shifts", steps, "give one an axis")
    if over and not x.ndim:
        raise error(IndexError, "roll", "an axis or more", x.shape, "name no axis")
    for step, dim in zip(steps, over, strict=True):
        x = _rolled(x, step, axis("roll", dim, x.ndim))
    return x.clone() if x is input else x


def _rolled(x: Tensor, step: int, at: int) -> Tensor:
    n = x.shape[at]
    start = -step % n if n else 0
    if not start:
        return x.clone()
    return cat([narrow(x, at, start, n - start), narrow(x, at, 0, start)], at)


@tensor_method()
def fliplr(input: Tensor) -> Tensor:
    """In reverse order along axis 1. ValueError on fewer than two axes.

    >>> tw.fliplr(tw.tensor([[1, 2]]))
    tensor([[2, 1]])
    """
    x = operand(input, "fliplr")
    if x.ndim < 2:
        raise error(ValueError, "fliplr", "two axes or more", x.shape, "take tw.flip")
    return flip(x, 1)


@tensor_method()
def flipud(input: Tensor) -> Tensor:
    """In reverse order along axis 0. ValueError on no axes.

    >>> tw.flipud(tw.tensor([1, 2]))
    tensor([2, 1])
    """
    x = operand(input, "flipud")
    if not x.ndim:
        raise error(ValueError, "flipud", "an axis or more", x.shape, "unsqueeze it")
    return flip(x, 0)


@tensor_method()
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by k right angles in the plane of two axes, from the first to the second. ValueError
    unless two are named.

    >>> tw.rot90(tw.tensor([[1, 2]]))
    tensor([[2],
            [1]])
    """
    x = operand(input, "rot90")
    plane = sizes("rot90", (dims,))
    if len(plane) != 2 or x.ndim < 2:
        raise error(ValueError, "rot90", "two axes", (x.shape, plane), "name two")
    i, j = (axis("rot90", d, x.ndim) for d in plane)
    if i == j:
        raise error(ValueError, "rot90", "two different axes", plane, "name two")
    turns = whole("rot90", "k", k) % 4
    if turns == 0:
        return x.clone()
    if turns == 2:
        return flip(x, (i, j))
    return transpose(flip(x, j), i, j).clone() if turns == 1 else flip(transpose(x, i, j), j)


@tensor_method()
def ravel(input: Tensor) -> Tensor:
    """All axes as one.

    >>> tw.ravel(tw.ones(2, 3)).shape
    (6,)
    """
    return reshape(operand(input, "ravel"), -1)


@tensor_method()
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at `index` along `dim`, without that axis: a view. IndexError outside of it.

    >>> tw.select(tw.tensor([[1, 2], [3, 4]]), 1, 0)
    tensor([1, 3])
    """
    x = operand(input, "select")
    at = axis("select", dim, x.ndim)
    i = whole("select", "index", index)
    if not x.ndim or not -x.shape[at] <= i < x.shape[at]:
        raise error(IndexError, "select", f"an index within {x.shape} along {at}", i, "lower it")
    return x[(*(slice(None) for _ in range(at)), i)]


@tensor_method()
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of parts along `dim`: as many as a number says, as equal as can be, or cut before the
    indices of a list.

    >>> [t.shape[0] for t in tw.tensor_split(tw.arange(7), 3)]
    [3, 2, 2]
    """
    op = "tensor_split"
    x = operand(input, op)
    if not x.ndim:
        raise error(ValueError, op, "an axis or more", x.shape, "unsqueeze it")
    at = axis(op, dim, x.ndim)
    n = x.shape[at]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, (list, tuple)):
        cuts = [min(max(i + n if i < 0 else i, 0), n) for i in sizes(op, (indices_or_sections,))]
    else:
        count = whole(op, "sections", indices_or_sections)
        if not 1 <= count <= _MOST:
            raise error(ValueError, op, f"sections in [1, {_MOST}]", count, "choose one in range")
        cuts = [i * (n // count) + min(i, n % count) for i in range(1, count)]
    ends = [*cuts, n]
    return tuple(
        narrow(x, at, start, max(0, end - start))
        for start, end in zip([0, *cuts], ends, strict=True)
    )


@tensor_method()
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements other than 0, a row each: (count, axes).

    >>> tw.argwhere(tw.tensor([0, 5, 7]))
    tensor([[1],
            [2]])
    """
    return nonzero(operand(input, "argwhere"))  # type: ignore[no-any-return]


def _triangle(
    op: str, row: Any, col: Any, offset: Any, upper: bool, dtype: Any, device: Device
) -> Tensor:  # fmt: skip
    rows, columns = whole(op, "row", row), whole(op, "col", col)
    if rows < 0 or columns < 0:
        raise error(ValueError, op, "lengths from 0", (rows, columns), "raise them")
    shift = min(max(whole(op, "offset", offset), -rows), columns) + (not upper)
    wanted = dtypes.int64 if dtype is None else dtypes.check(dtype, op)
    xp = namespace_on(resolved(op, device))
    before = xp.clip(xp.arange(rows, dtype=dtypes.int64) + shift, 0, columns)
    below = _below(rows, columns, shift)
    total = rows * columns - below if upper else below
    room_for(op, (2, total))
    lengths, places = columns - before if upper else before, xp.arange(total, dtype=dtypes.int64)
    ends = xp.cumsum(lengths)
    i = xp.searchsorted(ends, places, side="right")
    first = ends - lengths - before if upper else ends - lengths
    return fresh(converted(xp.stack([i, places - xp.take(first, i)]), wanted))


def _below(rows: int, columns: int, shift: int) -> int:
    """The elements in front of column i + shift, over all rows i: a run of empty rows, one of
    growing ones, one of whole ones."""
    grows = min(max(-shift, 0), rows)
    whole_from = min(max(columns - shift, grows), rows)
    growing = (grows + whole_from - 1 + 2 * shift) * (whole_from - grows) // 2
    return growing + (rows - whole_from) * columns


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Device = None
) -> Tensor:
    """(2, count): the rows and columns of a (row, col) matrix's lower triangle, in order.

    >>> tw.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _triangle("tril_indices", row, col, offset, False, dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Device = None
) -> Tensor:
    """(2, count): the rows and columns of a (row, col) matrix's upper triangle, in order.

    >>> tw.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return _triangle("triu_indices", row, col, offset, True, dtype, device)


# --- along an axis ---


@tensor_method()
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Each element less the one before along `dim`, `n` times; with others put before or behind
    first. Of bools whether they differ.

    >>> tw.diff(tw.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    x = operand(input, "diff")
    n = whole("diff", "n", n)
    if not x.ndim or n < 0:
        raise error(ValueError, "diff", "an axis or more, and n from 0", (x.shape, n), "reshape it")
    at = axis("diff", dim, x.ndim)
    if n == 0:
        return x.clone()
    parts = [t for t in (prepend, x, append) if t is not None]
    x = cat(parts, at) if len(parts) > 1 else x
    for _ in range(min(n, x.shape[at])):  # nothing is left then
        length = max(x.shape[at] - 1, 0)
        late, early = (narrow(x, at, min(i, x.shape[at]), length) for i in (1, 0))
        x = late ^ early if x.dtype is dtypes.bool else late - early
    return x


def trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1
) -> Tensor:
    """The area under y along `dim`, by trapezoids between the places `x`, or `dx` apart (1).

    >>> tw.trapezoid(tw.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    values = operand(y, "trapezoid", "y")
    if not values.ndim:
        raise error(ValueError, "trapezoid", "an axis or more", values.shape, "unsqueeze it")
    at = axis("trapezoid", dim, values.ndim)
    n = values.shape[at]
    pairs = narrow(values, at, min(1, n), max(n - 1, 0)) + narrow(values, at, 0, max(n - 1, 0))
    if x is None:
        return sum(pairs, at) * ((1 if dx is None else dx) / 2.0)
    places = operand(x, "trapezoid", "x")
    if places.ndim == 1:
        places = places.reshape([-1 if i == at else 1 for i in range(values.ndim)])
    return sum(pairs * diff(places, dim=at - values.ndim), at) / 2.0
