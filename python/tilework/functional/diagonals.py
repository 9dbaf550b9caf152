"""Diagonals of matrices, taken and made."""

from __future__ import annotations

from tilework.arrays import namespace
from tilework.errors import error
from tilework.functional.common import axis, operand, whole
from tilework.functional.masks import where
from tilework.functional.pad import pad
from tilework.tensor import Tensor, fresh, tensor_method


@tensor_method()
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the matrices along two axes, `offset` above the main one, as a last axis: a
    copy, not PyTorch's view. ValueError where both axes are one.

    >>> tw.diagonal(tw.arange(4).reshape(2, 2))
    tensor([0, 3])
    """
    x = operand(input, "diagonal")
    if x.ndim < 2:
        raise error(IndexError, "diagonal", "two axes or more", x.shape, "take tw.diag of vectors")
    i, j = axis("diagonal", dim1, x.ndim), axis("diagonal", dim2, x.ndim)
    if i == j:
        raise error(ValueError, "diagonal", "two different axes", (dim1, dim2), "name two")
    offset = whole("diagonal", "offset", offset)
    x = x.movedim((i, j), (-2, -1))
    rows, columns = x.shape[-2:]
    start = max(0, -offset)
    count = max(0, min(rows - start, columns - max(0, offset)))
    flat = x.reshape(*x.shape[:-2], rows * columns)
    first = start * columns + max(0, offset)
    step = columns + 1
    first, last = (first, first + count * step) if count else (0, 0)
    return flat[..., first:last:step].clone()


@tensor_method()
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with a vector on its diagonal, `diagonal` above the
    main one. ValueError on other ranks.

    >>> tw.diag(tw.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = operand(input, "diag")
    if x.ndim == 2:
        return _diagonal(x, diagonal)
    if x.ndim != 1:
        raise error(ValueError, "diag", "a vector or a matrix", x.shape, "take tw.diagonal")
    return diag_embed(x, diagonal)


_diagonal = diagonal  # which an argument hides above


@tensor_method()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the vectors along the last axis on their diagonals, `offset` above the main
    one, along two new axes.

    >>> tw.diag_embed(tw.ones(3, 2)).shape
    (3, 2, 2)
    """
    x = operand(input, "diag_embed")
    if not x.ndim:
        raise error(ValueError, "diag_embed", "an axis or more", x.shape, "unsqueeze it")
    offset = whole("diag_embed", "offset", offset)
    i, j = axis("diag_embed", dim1, x.ndim + 1), axis("diag_embed", dim2, x.ndim + 1)
    if i == j:
        raise error(ValueError, "diag_embed", "two different axes", (dim1, dim2), "name two")
    n, xp = x.shape[-1], namespace(x._array)
    own = fresh(xp.arange(n) == xp.arange(n).reshape(-1, 1))
    made: Tensor = where(own, x.unsqueeze(-2), fresh(xp.zeros((), dtype=x.dtype)))
    row, column = max(0, -offset), max(0, offset)
    if offset:
        made = pad(made, (column, row, row, column))
    return made.movedim((-2, -1), (i, j))
