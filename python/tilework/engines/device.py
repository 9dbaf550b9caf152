"""Devices beside the CPU: what one offers, and the table of functions that serves arrays of both.

A provider knows one kind of device: the class of its arrays, their namespace, the copies to and
from the host, and how a kernel is launched. There is CuPy's (cuda/on_cupy.py), and the tests' own
simulated one (testing/simulated.py). Until a provider serves, the CPU's engine is called
straight: who has no device pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tilework.arrays import ndarray
from tilework.errors import error

Array = Any
Three = tuple[int, int, int]


class Provider(Protocol):
    """A kind of device that holds arrays and runs kernels."""

    kind: type  # the class of its arrays
    namespace: Any  # whose functions make and compute them

    def to_device(self, array: Array) -> Array:
        """A copy of a NumPy array in the device's memory, its layout kept."""
        ...

    def to_host(self, array: Array) -> Array:
        """A copy in the CPU's memory, its layout kept, done when this returns."""
        ...

    def launch(self, kernel: str, grid: Three, block: Three, shared: int, slots: list[Any]) -> None:
        """Runs a kernel by its name: addresses and whole numbers as int, the rest as float."""
        ...

    def synchronize(self) -> None:
        """Waits until all that was launched has ended."""
        ...

    def name(self) -> str:
        """What the card is called."""
        ...


provider: Provider | None = None

# Functions whose tables of positions depend on shapes alone: these are the host's beside a device's
# arrays, and the engine's to bring over.
_TABLED = ("pool_", "interpolate_")


def dispatching(
    name: str, host: Callable[..., Any], device: Callable[..., Any], kind: type
) -> Callable[..., Any]:
    """An engine's function that goes where its arrays live: the first one decides."""
    tabled = name.startswith(_TABLED)

    def call(*args: Any) -> Any:
        first = _first(args, kind)
        if first is not None and first.__class__ is kind:
            return device(*(args if tabled else [_beside(name, a) for a in args]))
        if first is not None and any(_first((a,), kind).__class__ is kind for a in args):
            raise _apart(name)
        return host(*args)

    return call


def _first(values: Iterable[Any], kind: type) -> Any:
    """The first array among the values, and among those of a list."""
    for value in values:
        if value.__class__ is kind or value.__class__ is ndarray:
            return value
        if value.__class__ in (list, tuple) and (found := _first(value, kind)) is not None:
            return found
    return None


def _beside(name: str, value: Any) -> Any:
    """An argument beside a device's arrays: a number that NumPy holds comes over, as in PyTorch, an
    array does not."""
    if value.__class__ is ndarray:
        if value.ndim or provider is None:
            raise _apart(name)
        return provider.to_device(value)
    return value


def _apart(name: str) -> RuntimeError:
    return error(
        RuntimeError, name, "all tensors on one device", "some on the CPU and some on cuda",
        'move them: x.to("cuda"), or x.cpu()',
    )  # fmt: skip
