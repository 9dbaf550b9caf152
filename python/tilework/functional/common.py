"""What the families share: operands, axes, and the checks' wording."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from operator import index
from typing import Any, NamedTuple, TypeVar

from tilework import dtypes
from tilework.arrays import as_array, broadcast_shapes, errstate, host, iinfo, ndarray, scalar
from tilework.engines.device import number_on
from tilework.errors import error
from tilework.functional.border import marked, restated
from tilework.layout import entering
from tilework.storage import Aside
from tilework.tensor import Tensor, fresh

Dim = int | Sequence[int] | None
F = TypeVar("F", bound=Callable[..., Any])

_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


class Ranked(NamedTuple):
    """What max, min, sort and topk along an axis give."""

    values: Tensor
    indices: Tensor


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
        try:
            return function(*args, **options)
        except Exception as reason:
            found = restated(function.__name__, function, reason, args, options)
            if found is None:
                raise
            raise found from reason

    return marked(wrapped)  # type: ignore[return-value]


def wrap(array: Any) -> Tensor:
    """A tensor on a fresh result of a function of arrays, which may be a scalar."""
    return fresh(array if array.__class__ is ndarray else as_array(array))


def ordered(y: Tensor, *operands: Any) -> Tensor:
    """The fresh result of an elementwise op, its axes in the order that PyTorch gives them."""
    return y._keep_order(*(t for t in operands if isinstance(t, Tensor)))


def operand(value: Any, op: str, name: str = "input") -> Tensor:
    """`value` if it is a tensor, else TypeError: an array too, as in PyTorch."""
    if isinstance(value, Tensor):
        return value
    fix = "tilework.from_numpy" if isinstance(value, ndarray) else "tilework.tensor"
    raise error(TypeError, op, f"`{name}` as a Tensor", _named(value), f"wrap it: {fix}(...)")


def side(value: Any, op: str, name: str = "other") -> Tensor:
    """operand() of an operator's side, which may be an array: it is shared, not copied."""
    if isinstance(value, ndarray):
        return Tensor(entering(as_array(value), op))
    return operand(value, op, name)


def one_of_many(op: str) -> Aside:
    """What is told of views that a function returns together: PyTorch lets nobody write to them
    under the tape."""
    aside = Aside()
    aside.common = True
    aside.barred = f"one of the views that {op} gave"
    return aside


def broadcasts(*shapes: tuple[int, ...]) -> bool:
    """Whether the shapes broadcast."""
    try:
        broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def need_broadcast(op: str, *shapes: tuple[int, ...]) -> None:
    """ValueError where the shapes do not broadcast."""
    if not broadcasts(*shapes):
        raise error(
            ValueError, op, "shapes that broadcast",
            f"{', '.join(map(str, shapes[:-1]))} and {shapes[-1]}",
            "make trailing axes equal, or 1",
        ) from None  # fmt: skip


def whole(op: str, name: str, value: Any) -> int:
    """`value` as an int: Python's, NumPy's, or a tensor of one integer. TypeError on another."""
    try:
        return int(index(value))
    except TypeError:
        raise error(
            TypeError, op, f"{name} as a whole number", _named(value), "give an int"
        ) from None


def _named(value: Any) -> Any:
    """What is told of a stranger: its value if that is short."""
    return repr(value) if isinstance(value, (str, float, type(None))) else type(value).__name__


def axis(op: str, dim: Any, ndim: int) -> int:
    """`dim` counted from the front; IndexError where there is no such axis, TypeError where it is
    no whole number."""
    rank = ndim or 1  # as in PyTorch, a 0-d tensor has one axis to speak of
    at: int = dim if type(dim) is int else whole(op, "dim", dim)
    if not -rank <= at < rank:
        raise error(
            IndexError, op, f"dim between {-rank} and {rank - 1}", at, f"the input has {ndim} axes"
        )
    return at % rank


def axes(op: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction goes over, ascending; all for None and ()."""
    if dim is None:
        return ALL_AXES[ndim]
    if dim.__class__ is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if not dims or not ndim:
        for d in dims:
            axis(op, d, ndim)
        return tuple(range(ndim))
    found = sorted(axis(op, d, ndim) for d in dims)
    if len(set(found)) != len(found):
        raise error(ValueError, op, "each dim once", dim, "drop the repeated one")
    return tuple(found)


ALL_AXES = tuple(
    tuple(range(n)) for n in range(65)
)  # of NumPy's arrays, which have at most 64 axes

# The most that a padding, stride or dilation may be: sums of a few of them stay within 64 bits.
FARTHEST = 2**60


def room_for(op: str, shape: Sequence[int]) -> None:
    """MemoryError where no machine has the memory for a result of `shape`, and tables beside it."""
    if math.prod(n or 1 for n in shape) >= 2**44:
        raise error(
            MemoryError, op, "a result that fits in memory", f"one of shape {tuple(shape)}",
            "make it smaller",
        )  # fmt: skip


def need_float(op: str, x: Tensor, name: str = "input") -> None:
    """TypeError where `x` is of integers or bools."""
    dtype = x._array.dtype
    if dtype.kind != "f" and not dtypes.is_float(dtype):
        raise error(
            TypeError, op, f"`{name}` of a float dtype", x._array.dtype,
            f"convert it with {name}.float()",
        )  # fmt: skip


def need_below(op: str, name: str, array: Any, count: int, fix: str) -> None:
    """ValueError where an array has a number outside of [0, count)."""
    if array.size and not (int(array.min()) >= 0 and int(array.max()) < count):
        wrong = array[(array < 0) | (array >= count)][0]
        raise error(ValueError, op, f"{name} in [0, {count})", int(wrong), fix)


def sizes(op: str, size: Any) -> tuple[int, ...]:
    """A shape given as f(2, 3), f((2, 3)) or f(array). TypeError on what is no whole
    number."""
    if len(size) == 1:
        only = size[0]
        if isinstance(only, (tuple, list)) or (isinstance(only, ndarray) and only.ndim == 1):
            size = only
    try:
        return tuple(map(index, size))
    except TypeError:
        raise error(TypeError, op, "whole numbers", size, "give lengths or axes as ints") from None


def number(op: str, name: str, value: Any) -> Any:
    """A Python number: `value` itself, or what NumPy's number or a tensor of one element holds.
    TypeError on another thing."""
    if isinstance(value, (Tensor, scalar, ndarray)) and math.prod(value.shape) == 1:
        value = value.item()
    if not isinstance(value, (int, float)):
        raise error(TypeError, op, f"{name} as a number", _named(value), "give int or float")
    return value


def values_of(op: str, dtype: dtypes.DType, value: Any, xp: Any = host) -> Any:
    """What is written to a tensor of `dtype`, as an array: a number, an array, nested lists."""
    if isinstance(value, (int, float)):
        return number_of(op, dtype, value, xp=xp)
    array = entering(host.asarray(value), op)
    with errstate(invalid="ignore", over="ignore"):
        return xp.asarray(array.astype(dtype, copy=False))


_FAR = 1e38  # what is nearer to 0 is a number in float32 too


def is_plain(value: Any) -> bool:
    """Whether `value` is a number of Python's that every float dtype of a kernel's holds, or an
    infinity: nothing is to be said of it."""
    return value.__class__ in (int, float) and (
        -_FAR < value < _FAR or value in (math.inf, -math.inf)
    )


def number_of(op: str, dtype: dtypes.DType, value: Any, name: str = "value", xp: Any = host) -> Any:
    """A number, or a tensor or array of one element, as an array of `dtype` in the namespace `xp`:
    what is filled in.

    TypeError on another thing; ValueError where an integer dtype does not hold it.
    """
    if dtype.kind == "f" and is_plain(value):
        found = host.asarray(value, dtype=dtype)
        return number_on(xp, found)
    if isinstance(value, Tensor) and value._array.size == 1:
        dtypes.check(value.dtype, op)
        value = value.item()
    if not isinstance(value, (int, float, scalar, ndarray)) or getattr(value, "size", 1) != 1:
        raise error(TypeError, op, f"`{name}` as a number", _named(value), "give one number")
    if isinstance(value, (scalar, ndarray)):
        dtypes.check(value.dtype, op)
        value = value.item()
    if dtype.kind in "iu":
        limits = iinfo(dtype)
        if value != value or not limits.min <= value <= limits.max:
            raise error(ValueError, op, f"`{name}` within {dtype}", value, "take a wider dtype")
        value = int(value)
    with errstate(over="ignore"):
        found = host.asarray(value, dtype=dtype)
    return number_on(xp, found)


def wrapped_number(op: str, dtype: dtypes.DType, value: Any, xp: Any) -> Any:
    """A Python number as an operand beside tensors of `dtype`: modulo the dtype's range, as
    PyTorch's (uint8 + 300 is uint8 + 44); an array of the namespace `xp`.

    ValueError beyond 64 bits.
    """
    if dtype.kind in "iu" and isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise error(ValueError, op, "a number of 64 bits", value, "convert it to float")
        found = host.asarray(value & 2**64 - 1, dtype="uint64").astype(dtype)
    else:
        with errstate(over="ignore"):
            found = host.asarray(value, dtype=dtype)
    return number_on(xp, found)
