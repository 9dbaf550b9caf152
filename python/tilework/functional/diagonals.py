"""Diagonals of matrices, taken and made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework.arrays import namespace, set_writeable, writeable
from tilework.autograd import Op
from tilework.errors import error
from tilework.functional.common import axis, operand, whole
from tilework.functional.masks import where
from tilework.functional.pad import pad
from tilework.functional.shape import viewed
from tilework.tensor import Tensor, fresh, tensor_method


def _diagonal_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    """The gradient on the diagonals of zeros."""
    offset, i, j = saved
    x = inputs[0]
    rows, columns = x.shape[i], x.shape[j]
    start, over = max(0, -offset), max(0, offset)
    square = grad.shape[-1]
    if not square:
        return (fresh(namespace(x._array).zeros(x.shape, x.dtype)),)
    made = diag_embed(grad)
    room = (over, columns - over - square, start, rows - start - square)
    return (pad(made, room).movedim((-2, -1), (i, j)),)


_DIAGONAL = Op("diagonal", differentiable=_diagonal_recorded)


@tensor_method()
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the matrices along two axes, `offset` above the main one, as a last axis: a
    view. ValueError where both axes are one.

    >>> x = tw.arange(4).reshape(2, 2)
    >>> tw.diagonal(x).add_(10)
    tensor([10, 13])
    >>> x
    tensor([[10,  1],
            [ 2, 13]])
    """
    x = operand(input, "diagonal")
    if x.ndim < 2:
        raise error(IndexError, "diagonal", "two axes or more", x.shape, "take tw.diag of vectors")
    i, j = axis("diagonal", dim1, x.ndim), axis("diagonal", dim2, x.ndim)
    if i == j:
        raise error(ValueError, "diagonal", "two different axes", (dim1, dim2), "name two")
    # NumPy adds to it without a look, and no diagonal lies farther out.
    offset = min(max(whole("diagonal", "offset", offset), -x.shape[i]), x.shape[j])
    array = x._array.diagonal(offset, i, j)
    set_writeable(array, writeable(x._array))  # NumPy's are for reading until one asks
    return viewed(x, array, _DIAGONAL, (offset, i, j))


@tensor_method()
def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """One number on the main diagonal, in place. A matrix that is taller than wide gets it again
    after each square and a row, with `wrap`.

    ValueError on vectors, or on more than two axes of different lengths.

    >>> tw.zeros(2, 2).fill_diagonal_(5)
    tensor([[5., 0.],
            [0., 5.]])
    """
    shape = self.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise error(
            ValueError, "fill_diagonal_", "a matrix, or axes of one length", shape, "slice it"
        )
    if len(shape) > 2:
        at = fresh(namespace(self._array).arange(shape[0]))
        self[(at,) * len(shape)] = fill_value
        return self
    rows, columns = shape
    for start in range(0, rows if wrap else 1, columns + 1):
        diagonal(self, -start).fill_(fill_value)
    return self


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
        return _diagonal(x, diagonal).clone()
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
