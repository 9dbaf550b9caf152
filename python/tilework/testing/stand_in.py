"""Arrays of another library, as CuPy's are to NumPy: to find ops that compute with NumPy unasked.

A StandIn holds a NumPy array, and never becomes one by itself: NumPy's functions refuse it, and it
refuses NumPy's arrays beside it. It has a namespace of its own, of the names below alone, and an
engine that takes it apart and puts it together. Like a device's, its elements come to the host as
Python's numbers alone (item, tolist, bool), and an op gives arrays, never NumPy's scalars.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tilework import engines
from tilework.engines import device

_home: Callable[[Any], Any] | None = None
# What went between the host and the device, by the way it went: arrays and numbers.
crossings: Counter[str] = Counter()


def set_home(home: Callable[[Any], Any] | None) -> None:
    """Where stand-ins' elements live from now on: `home` gives a NumPy array as one there. None:
    where they are."""
    global _home
    _home = home


# What both the array API's standard and CuPy have, as far as ops use it; and CuPy's own, which are
# NumPy's names.
# fmt: off
STANDARD = frozenset((
    "abs", "add", "all", "any", "arange", "argmax", "argmin", "argsort", "asarray", "broadcast_to",
    "bitwise_and", "bitwise_or", "bitwise_xor", "ceil", "clip", "cos", "empty", "empty_like",
    "equal", "exp", "floor", "floor_divide", "full", "full_like", "greater", "greater_equal",
    "isfinite", "isinf", "isnan", "less", "less_equal", "log", "logical_and", "logical_not",
    "logical_or", "logical_xor", "matmul", "max", "maximum", "min", "minimum", "moveaxis",
    "not_equal", "ones", "ones_like", "remainder", "round", "sign", "sin", "sqrt", "square",
    "stack", "sum", "take", "take_along_axis", "trunc", "where", "zeros", "zeros_like",
))
CUPY = frozenset((
    "add", "arccos", "arcsin", "arctan", "arctan2", "argwhere", "atleast_1d", "bincount",
    "concatenate", "cosh", "cumprod", "cumsum", "exp2", "expm1", "hypot", "isclose", "isin",
    "log10", "log1p", "log2", "logaddexp", "may_share_memory", "multiply", "pad", "power",
    "prod", "put_along_axis", "reciprocal", "rint", "searchsorted", "sinh", "subtract", "tan",
    "tanh", "true_divide", "unique",
))
METHODS = frozenset((
    "all", "any", "argmax", "argmin", "astype", "clip", "copy", "cumsum", "diagonal", "item",
    "max", "mean", "min", "nonzero", "reshape", "squeeze", "sum", "swapaxes", "tolist", "transpose",
    "view",
))
FIELDS = frozenset((
    "shape", "dtype", "ndim", "size", "strides", "itemsize", "nbytes", "T", "base",
))
_NUMBERS = ("__bool__", "__int__", "__float__", "__index__", "__len__")
_TWO = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift",
    "rshift", "matmul",
)
_OTHERS = ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")
# fmt: on


def bare(value: Any) -> Any:
    """A value without stand-ins. TypeError on an array of NumPy's: its numbers are welcome."""
    if isinstance(value, StandIn):
        return value._held
    if isinstance(value, np.ndarray):
        raise TypeError(f"an array of NumPy's, {value.dtype} {value.shape}, among stand-ins")
    if isinstance(value, (tuple, list)):
        return type(value)(map(bare, value))
    return value


def dressed(value: Any) -> Any:
    """A value with its arrays, and NumPy's scalars, as stand-ins."""
    if isinstance(value, (np.ndarray, np.generic)):
        return StandIn(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(dressed, value))
    return value


_OF_NUMPY = frozenset(("initial", "where"))  # options


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy's, on stand-ins."""

    def call(*args: Any, **options: Any) -> Any:
        if not _OF_NUMPY.isdisjoint(options):
            raise TypeError(f"CuPy's {function.__name__} takes none of {', '.join(_OF_NUMPY)}")
        return dressed(function(*map(bare, args), **{k: bare(v) for k, v in options.items()}))

    return call


class _Flags:
    """As CuPy has them: how an array lies, and not whether it may be written to."""

    __slots__ = ("c_contiguous", "f_contiguous", "owndata")

    def __init__(self, of: Any) -> None:
        self.c_contiguous, self.f_contiguous = of.c_contiguous, of.f_contiguous
        self.owndata = of.owndata


def _diagonal(held: Any) -> Callable[..., Any]:
    """The method, whose view may be written to, as CuPy's."""

    def diagonal(*args: Any) -> Any:
        found = held.diagonal(*args)
        found.flags.writeable = held.flags.writeable
        return found

    return diagonal


class StandIn:
    """An array that is none of NumPy's."""

    __slots__ = ("__weakref__", "_held")
    __array_ufunc__ = None  # NumPy's operators leave the sum to this side, its functions refuse
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, held: Any) -> None:
        object.__setattr__(self, "_held", held if _home is None else _home(held))

    def __array_namespace__(self, *, api_version: Any = None) -> Any:
        return namespace

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("a stand-in was to become a NumPy array by itself")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called on a stand-in")

    @property
    def __cuda_array_interface__(self) -> Any:
        """As a device's array has it; there is no __array_interface__ beside it."""
        described = self._held.__array_interface__
        return {
            "shape": self.shape, "typestr": described["typestr"], "version": 3,
            "data": described["data"], "strides": self.strides,
        }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            if name in ("item", "tolist"):
                crossings[name] += 1
            return wrapped(
                _diagonal(self._held) if name == "diagonal" else getattr(self._held, name)
            )
        if name == "flags":
            return _Flags(self._held.flags)
        if name in FIELDS:
            found = getattr(self._held, name)
            return found if isinstance(found, tuple) else dressed(found)
        raise AttributeError(f"a stand-in has no attribute {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "shape":
            raise AttributeError(name)
        self._held.shape = value

    def __getitem__(self, key: Any) -> Any:
        return dressed(self._held[bare(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._held[bare(key)] = bare(value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"StandIn({self._held!r})"


def _attach(name: str) -> None:
    def method(self: Any, *others: Any) -> Any:
        if name in _NUMBERS and name != "__len__":
            crossings[name] += 1
        found = getattr(self._held, name)(*map(bare, others))
        if name.startswith("__i") and name not in ("__int__", "__invert__", "__index__"):
            return self
        return found if name in _NUMBERS or found is NotImplemented else dressed(found)

    setattr(StandIn, name, method)


for _name in (
    *_NUMBERS,
    *(f"__{side}{name}__" for name in _TWO for side in ("", "r", "i")),
    *(f"__{name}__" for name in _OTHERS),
):
    if hasattr(np.ndarray, _name):
        _attach(_name)


def _strided(flat: StandIn, *, shape: Any, strides: Any) -> StandIn:
    return StandIn(np.lib.stride_tricks.as_strided(flat._held, shape, strides))


def _poisoned(make: Callable[..., Any]) -> Callable[..., StandIn]:
    """empty() or empty_like(), whose elements are NaN, and -1 of integers: who reads what was never
    written shows it."""

    def call(*args: Any, **options: Any) -> StandIn:
        made = make(*map(bare, args), **options)
        made.fill(np.frombuffer(b"\xff" * made.itemsize, made.dtype)[0])
        return StandIn(made)

    return call


def _asarray(value: Any, dtype: Any = None) -> StandIn:
    """The one way here for an array of NumPy's, as CuPy's: it is asked for."""
    if not isinstance(value, StandIn):
        crossings["asarray"] += 1
    held = value._held if isinstance(value, StandIn) else value
    return StandIn(np.asarray(held, dtype))


namespace = types.ModuleType("stand_in")
for _name in STANDARD | CUPY:
    setattr(namespace, _name, wrapped(getattr(np, _name)))
namespace.empty = _poisoned(np.empty)  # type: ignore[attr-defined]
namespace.empty_like = _poisoned(np.empty_like)  # type: ignore[attr-defined]
namespace.asarray = _asarray  # type: ignore[attr-defined]
namespace.lib = types.SimpleNamespace(  # type: ignore[attr-defined]
    stride_tricks=types.SimpleNamespace(as_strided=_strided)
)


# Their tables of positions depend on shapes alone: they are the host's, and an engine's to bring
# over.
_BY_TABLES = ("pool_", "interpolate_")


def _served(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """An engine's function on stand-ins, or on NumPy's arrays, but not on both."""

    def call(*args: Any, **options: Any) -> Any:
        if not any(map(_is_one, (*args, *options.values()))):
            return function(*args, **options)
        take = _table_or_bare if name.startswith(_BY_TABLES) else bare
        return dressed(function(*map(take, args), **{k: take(v) for k, v in options.items()}))

    return call


def _is_one(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_is_one, value))
    return isinstance(value, StandIn)


def _table_or_bare(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) and value.ndim < 3 else bare(value)


class Held:
    """A device of stand-ins in the CPU's memory: it has arrays, and no kernels."""

    kind = StandIn
    namespace = namespace

    def to_device(self, array: Any) -> StandIn:
        """A copy as a stand-in, its layout kept."""
        return StandIn(array.copy("K"))

    def to_host(self, array: StandIn) -> Any:
        """A copy as NumPy's, its layout kept."""
        return array._held.copy("K")

    def count(self) -> int:
        """One."""
        return 1

    def launch(self, kernel: str, *_: Any) -> None:
        """There is none to launch."""
        raise AssertionError(f"a launch of {kernel}")


@contextmanager
def serving() -> Iterator[None]:
    """Lets the engine in use serve stand-ins beside NumPy's arrays."""
    table, served = engines.ops, device.provider
    before = {name: getattr(table, name) for name in engines.CONTRACT}
    held: Any = Held()
    device.provider = held  # a number of a stand-in comes to the host by it
    try:
        for name, function in before.items():
            if callable(function):
                setattr(table, name, _served(name, function))
        yield
    finally:
        device.provider = served
        for name, function in before.items():
            setattr(table, name, function)
