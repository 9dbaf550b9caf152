"""What the families share: operands, axes, and the checks' wording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from operator import index
from typing import Any, TypeVar

import numpy as np

from tilework import dtypes
from tilework.errors import error
from tilework.tensor import Tensor, fresh

Dim = int | Sequence[int] | None
F = TypeVar("F", bound=Callable[..., Any])

_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: F) -> F:
    """Lets `dim` and `keepdim` be given by NumPy's names too, `axis` and `keepdims`, as in PyTorch.

    TypeError where an argument is given by both.
    """

    @wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        if options:
            for theirs, ours in _NUMPY_NAMES.items():
                if theirs not in options:
                    continue
                if ours in options:
                    raise error(
                        TypeError, function.__name__, f"{ours} once", f"{theirs} beside it",
                        "drop one",
                    )  # fmt: skip
                options[ours] = options.pop(theirs)
        return function(*args, **options)

    return wrapped  # type: ignore[return-value]


def wrap(array: Any) -> Tensor:
    """A tensor on a fresh result of NumPy's, which may be a scalar."""
    return fresh(array if isinstance(array, np.ndarray) else np.asarray(array))


def operand(value: Any, op: str, name: str = "input") -> Tensor:
    """`value` if it is a tensor; an ndarray is shared, not copied. Else TypeError."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        return Tensor(dtypes.canonical(value, op))
    raise error(
        TypeError,
        op,
        f"`{name}` as a Tensor",
        type(value).__name__,
        "wrap it: tilework.tensor(...)",
    )


def broadcasts(*shapes: tuple[int, ...]) -> bool:
    """Whether the shapes broadcast."""
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def axis(op: str, dim: int, ndim: int) -> int:
    """`dim` counted from the front; IndexError where there is no such axis."""
    rank = max(ndim, 1)  # as in PyTorch, a 0-d tensor has one axis to speak of
    if not -rank <= dim < rank:
        raise error(
            IndexError, op, f"dim between {-rank} and {rank - 1}", dim, f"the input has {ndim} axes"
        )
    return dim % rank


def axes(op: str, dim: Dim, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction goes over, ascending; all for None and ()."""
    if dim is None:
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if not dims or not ndim:
        for d in dims:
            axis(op, d, ndim)
        return tuple(range(ndim))
    found = sorted(axis(op, d, ndim) for d in dims)
    if len(set(found)) != len(found):
        raise error(ValueError, op, "each dim once", dim, "drop the repeated one")
    return tuple(found)


def need_float(op: str, x: Tensor, name: str = "input") -> None:
    """TypeError where `x` is of integers or bools."""
    if not dtypes.is_float(x._array.dtype):
        raise error(
            TypeError, op, f"`{name}` of a float dtype", x._array.dtype,
            f"convert it with {name}.float()",
        )  # fmt: skip


def sizes(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as f(2, 3) or as f((2, 3)). TypeError on what is no whole number."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        return tuple(map(index, size))
    except TypeError:
        raise error(TypeError, op, "whole numbers", size, "give lengths or axes as ints") from None
