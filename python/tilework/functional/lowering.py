"""What autocast does to the calls under it: products take its dtype, losses float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from tilework import autocasting, dtypes
from tilework.arrays import ndarray
from tilework.autocasting import state
from tilework.autograd import mode
from tilework.functional.cast import cast
from tilework.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def _dtype_for(x: Tensor) -> dtypes.DType | None:
    return state.dtypes.get("cpu" if x._array.__class__ is ndarray else "cuda")


def lowered(*values: Any) -> tuple[Any, ...]:
    """The values, with float32 tensors in autocast's dtype where it is on."""
    return tuple(_lowered(v) if isinstance(v, Tensor) else v for v in values)


def _lowered(x: Tensor) -> Tensor:
    dtype = _dtype_for(x)
    if dtype is None or x.dtype is not dtypes.float32:
        return x
    if not state.caches or mode.enabled or x._node is not None or not x._requires_grad:
        return cast(x, dtype)
    # A weight off the tape, which each call would convert again. (On it each call needs a record
    # of its own: one backward consumes what another may share.)
    held = state.weights.get(id(x))
    if held is None or held[0] is not x or held[1] != x._storage.version:
        held = state.weights[id(x)] = (x, x._storage.version, cast(x, dtype))
    return held[2]


def _raised(x: Any) -> Any:
    if isinstance(x, Tensor) and x.dtype is dtypes.bfloat16 and _dtype_for(x) is not None:
        return cast(x, dtypes.float32)
    return x


def in_full(function: F) -> F:
    """Has a function that loses too much in bfloat16 take and give float32 under autocast."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        if autocasting.active:
            args = tuple(map(_raised, args))
            options = {name: _raised(value) for name, value in options.items()}
        return function(*args, **options)

    return called  # type: ignore[return-value]
