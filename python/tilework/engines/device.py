"""Devices beside the CPU: what one offers, and the table of functions that serves arrays of both.

A provider knows one kind of device: the class of its arrays, their namespace, the copies to and
from the host, and how a kernel is launched. There is CuPy's (cuda/on_cupy.py), and the tests' own
simulated one (testing/simulated.py). Until a provider serves, the CPU's engine is called
straight: who has no device pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tilework.arrays import host, ndarray
from tilework.errors import error

Array = Any
Three = tuple[int, int, int]


class Stream(Protocol):
    """A line of work of the device: what is in one runs in its order, beside the others."""

    @property
    def ptr(self) -> int:
        """Its handle, a cudaStream_t; 0 of the default stream."""
        ...

    def query(self) -> bool:
        """Whether all that was launched in it has ended."""
        ...

    def synchronize(self) -> None:
        """Waits until it has."""
        ...

    def wait(self, event: Any) -> None:
        """What is launched in it from now on begins when the device has come to the mark."""
        ...

    def use(self) -> None:
        """Launches and copies of this thread go to it from now on."""
        ...


class Event(Protocol):
    """A mark in the device's work."""

    def record(self, stream: Any = None) -> None:
        """Marks what was launched until now, in a stream; in the current one where none is
        given."""
        ...

    def query(self) -> bool:
        """Whether the device has come to the mark."""
        ...

    def synchronize(self) -> None:
        """Waits until it has."""
        ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this mark to another."""
        ...


class Provider(Protocol):
    """A kind of device that holds arrays and runs kernels."""

    kind: Any  # the class of its arrays
    namespace: Any  # whose functions make and compute them

    def to_device(self, array: Array) -> Array:
        """A copy of a NumPy array in the device's memory, its layout kept. Where the array lies in
        pinned memory this may return before it is made; the device's work waits for it."""
        ...

    def to_host(self, array: Array) -> Array:
        """A copy in the CPU's memory, its layout kept, done when this returns."""
        ...

    def pinned(self, array: Array) -> Array:
        """A copy in memory of the CPU that the device reads by itself, its layout kept."""
        ...

    def is_pinned(self, array: Array) -> bool:
        """Whether a NumPy array lies in such memory."""
        ...

    def mapped(self, count: int) -> Array:
        """`count` zeros of int64 in the host's memory, a NumPy array, that kernels can write to
        (pinned): they tell there what went wrong (cuda/errors.py)."""
        ...

    def launch(self, kernel: str, grid: Three, block: Three, shared: int, slots: list[Any]) -> None:
        """Runs a kernel by its name: addresses and whole numbers as int, the rest as float."""
        ...

    def synchronize(self) -> None:
        """Waits until all that was launched has ended. RuntimeError, by the kernel's name, where
        some of it failed."""
        ...

    def event(self, timed: bool) -> Event:
        """A mark that is not recorded yet; `timed` if elapsed_time is to be asked."""
        ...

    def stream(self, priority: int) -> Stream:
        """A new line of work; the lower its number the sooner it gets its turn."""
        ...

    def current_stream(self) -> Stream:
        """Where this thread's launches and copies go."""
        ...

    def default_stream(self) -> Stream:
        """Where they go unless another was taken."""
        ...

    def count(self) -> int:
        """How many devices there are."""
        ...

    def name(self) -> str:
        """What the card is called."""
        ...

    def capability(self) -> tuple[int, int]:
        """The compute capability: (9, 0) of an H200."""
        ...

    def multiprocessors(self) -> int:
        """How many the card has."""
        ...

    def card_memory(self) -> tuple[int, int]:
        """Bytes of the card that are free for all its users, and all that it has."""
        ...

    def memory(self) -> tuple[int, int]:
        """Bytes in use by arrays, and bytes taken from the device."""
        ...

    def empty_cache(self) -> None:
        """Gives back what no array uses."""
        ...


provider: Provider | None = None

# Functions whose tables of positions, or of batch sizes, depend on shapes and lengths alone: these
# are the host's beside a device's arrays, and the engine's to bring over.
_TABLED = ("pool_", "interpolate_", "recurrent_")


def dispatching(
    name: str, host: Callable[..., Any], device: Callable[..., Any], kind: type
) -> Callable[..., Any]:
    """An engine's function that goes where its arrays live: the first one decides."""
    tabled = name.startswith(_TABLED)

    def call(*args: Any) -> Any:
        first = _first(args, kind)
        if first is not None and first.__class__ is kind:
            return device(*(args if tabled else [_beside(name, a) for a in args]))
        if first is not None and _has(args, kind):
            raise apart(name)
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


def _has(values: Iterable[Any], kind: type) -> bool:
    """Whether one of the values, or of those of a list, is an array of this class."""
    return any(
        value.__class__ is kind or (value.__class__ in (list, tuple) and _has(value, kind))
        for value in values
    )


def _beside(name: str, value: Any) -> Any:
    """An argument beside a device's arrays: a number that NumPy holds comes over, as in PyTorch, an
    array does not."""
    if value.__class__ is ndarray:
        if value.ndim or provider is None:
            raise apart(name)
        return number_on(provider.namespace, value)
    if value.__class__ in (list, tuple) and _has(value, ndarray):
        raise apart(name)
    return value


def filled(array: Array, number: Any) -> Array:
    """A device's array, with `number` everywhere, as its dtype has it: a kernel's parameter, no
    copy."""
    of, value = array, host.asarray(number, dtype=array.dtype)
    if value.itemsize == 2:  # bfloat16, of which no function of arrays knows more than the bits
        of, value = array.view("uint16"), value.view("uint16")
    of[...] = value.item()
    return array


def number_on(xp: Any, number: Array) -> Array:
    """A NumPy array without axes as one of the namespace `xp`: a device's crosses by no copy."""
    return number if xp is host else filled(xp.empty((), number.dtype), number)


def apart(name: str) -> RuntimeError:
    """What is raised where an op is given arrays of both the CPU and a device."""
    return error(
        RuntimeError, name.removesuffix("_forward"), "all tensors on one device",
        "some on the CPU and some on cuda",
        'move them: x.to("cuda"), or x.cpu()',
    )  # fmt: skip


def needed(op: str, wanted: Any) -> Provider:
    """The provider; CuPy's where none serves yet. RuntimeError, which says what is missing, where
    there is no device."""
    if provider is None:
        from tilework import engines
        from tilework.engines import found

        reason = found.missing()
        if reason:
            what, _, fix = reason.partition(": ")
            raise error(RuntimeError, op, f"a device for {wanted}", what, fix)
        from tilework.engines.cuda.on_cupy import OnCupy

        engines.serve(OnCupy())
    assert provider is not None
    return provider
