"""What programs ask of a library besides its functions: limits of dtypes, constants, switches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tilework import arrays, dtypes
from tilework.errors import error
from tilework.tensor import Tensor

__all__ = [
    "are_deterministic_algorithms_enabled", "compile", "e", "finfo", "get_default_dtype", "iinfo",
    "inf", "is_floating_point", "is_tensor", "nan", "numel", "pi", "use_deterministic_algorithms",
]  # fmt: skip

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e


class finfo:
    """The limits of a float dtype, float32 where none is named: `bits`, `eps`, `max`, `min`,
    `tiny` and `smallest_normal`, `resolution`, `dtype`. TypeError on integers.

    >>> tw.finfo(tw.float32).max > 3e38, tw.finfo(tw.bfloat16).eps
    (True, 0.0078125)
    """

    def __init__(self, type: Any = dtypes.float32) -> None:
        wanted = dtypes.check(type, "finfo")
        if not dtypes.is_float(wanted):
            raise error(TypeError, "finfo", "a float dtype", wanted, "take iinfo of integers")
        found = dtypes.finfo(wanted)
        self.dtype = str(wanted)
        self.bits = int(found.bits)
        self.eps, self.max, self.min, self.resolution = (
            float(v) for v in (found.eps, found.max, found.min, found.resolution)
        )
        self.tiny = self.smallest_normal = float(found.tiny)

    def __repr__(self) -> str:
        shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        values = ", ".join(f"{name}={getattr(self, name):g}" for name in shown)
        return f"finfo({values}, dtype={self.dtype})"


class iinfo:
    """The limits of an integer dtype: `bits`, `min`, `max`, `dtype`. TypeError on floats and bool.

    >>> tw.iinfo(tw.uint8).max
    255
    """

    def __init__(self, type: Any) -> None:
        wanted = dtypes.check(type, "iinfo")
        if wanted.kind not in "iu":
            raise error(TypeError, "iinfo", "an integer dtype", wanted, "take finfo of floats")
        found = arrays.iinfo(wanted)
        self.dtype, self.bits = str(wanted), int(found.bits)
        self.min, self.max = int(found.min), int(found.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def is_tensor(obj: Any) -> bool:
    """Whether it is a tensor.

    >>> tw.is_tensor(tw.ones(1)), tw.is_tensor(1.0)
    (True, False)
    """
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether a tensor is of a float dtype.

    >>> tw.is_floating_point(tw.ones(1))
    True
    """
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """The number of a tensor's elements.

    >>> tw.numel(tw.ones(2, 3))
    6
    """
    return input.numel()


def get_default_dtype() -> dtypes.DType:
    """What tensors of Python's floats are: float32, always.

    >>> tw.get_default_dtype() == tw.float32
    True
    """
    return dtypes.float32


def compile(model: Any = None, **options: Any) -> Any:
    """The function or module itself: the kernels are compiled already, and no graph is left to make
    faster. Takes torch.compile's options, as a decorator too, so that its programs run.

    >>> layer = nn.Linear(2, 2)
    >>> tw.compile(layer, mode="max-autotune") is layer
    True
    """
    if model is None:
        decorator: Callable[[Any], Any] = lambda function: function  # noqa: E731
        return decorator
    return model


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Does nothing: results do not depend on threads or chance, whatever the mode.

    >>> tw.use_deterministic_algorithms(True)
    """


def are_deterministic_algorithms_enabled() -> bool:
    """Whether results depend on nothing but the arguments: always.

    >>> tw.are_deterministic_algorithms_enabled()
    True
    """
    return True
