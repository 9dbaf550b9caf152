"""CUDA devices, by PyTorch's names: whether there is one, what it is, its memory, waiting for it,
and its streams and events.

Tensors live on the first device. What needs one is a RuntimeError where none is here, which says
what is missing. CuPy keeps no peak of its memory, so max_memory_allocated() and its like are not
here.

>>> device = tw.device("cuda" if tw.cuda.is_available() else "cpu")
>>> tw.ones(2, device=device).sum().item()
2.0
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilework import functional
from tilework.devices import CUDA, resolved
from tilework.engines import device as beside
from tilework.engines import found
from tilework.errors import error, word

if TYPE_CHECKING:
    from tilework.devices import device as device_type
    from tilework.tensor import Tensor

__all__ = [
    "DeviceProperties", "Event", "Stream", "StreamContext", "current_device", "current_stream",
    "default_stream", "device", "device_count", "device_of", "empty_cache",
    "get_device_capability", "get_device_name", "get_device_properties", "get_rng_state",
    "get_rng_state_all", "init", "initial_seed", "is_available", "is_bf16_supported",
    "is_initialized", "manual_seed", "manual_seed_all", "mem_get_info", "memory_allocated",
    "memory_reserved", "set_device", "set_rng_state", "set_rng_state_all", "set_stream", "stream",
    "synchronize", "why_not",
]  # fmt: skip


def _served(op: str, device: Any = None) -> beside.Provider:
    """What serves the device that an argument names. RuntimeError where it is not here, ValueError
    on the CPU."""
    served = beside.needed(op, "'cuda'")
    if device is not None and resolved(op, device).type == "cpu":
        raise error(ValueError, op, "a CUDA device", "the CPU", "name cuda, or 0")
    return served


def is_available() -> bool:
    """Whether tensors can live on a CUDA device: with an NVIDIA driver, a card and CuPy.

    The driver is asked, silently; nothing is imported.

    >>> tw.cuda.is_available() == (tw.cuda.why_not() == "")
    True
    """
    return beside.provider is not None or not found.missing()


def why_not() -> str:
    """What is missing for a CUDA device, and what helps; empty where one can be used.

    >>> isinstance(tw.cuda.why_not(), str)
    True
    """
    return "" if beside.provider is not None else found.missing()


def device_count() -> int:
    """How many CUDA devices the driver finds; tensors live on the first.

    >>> tw.cuda.device_count() >= 0
    True
    """
    if beside.provider is not None:
        return beside.provider.count()
    return found.driver_devices() or 0


def init() -> None:
    """Takes the device into use, which its first tensor does by itself. RuntimeError where there is
    none."""
    _served("init")


def is_initialized() -> bool:
    """Whether the device is in use: a tensor was made there, or init() was called.

    >>> tw.cuda.is_initialized() <= tw.cuda.is_available()
    True
    """
    return beside.provider is not None


def current_device() -> int:
    """The number of the device that tensors live on: 0. RuntimeError where there is none."""
    _served("current_device")
    return 0


def set_device(device: Any) -> None:
    """Does nothing but to check that the device is here: tensors live on the first. RuntimeError
    where it is not, ValueError on the CPU."""
    _served("set_device", device)


class device:
    """`with` a device by its number, which checks that it is here: tensors live on the first. None
    and numbers below 0 name none, and nothing is done. RuntimeError where it is not here.

    >>> with tw.cuda.device(None):
    ...     x = tw.ones(2)
    """

    def __init__(self, device: Any) -> None:
        names = device is not None and not (isinstance(device, int) and device < 0)
        if names:
            _served("device", device)
        self.idx = 0 if names else -1

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class device_of(device):
    """`with` the device of a tensor; nothing is done for one on the CPU.

    >>> with tw.cuda.device_of(tw.ones(2)):
    ...     x = tw.ones(2)
    """

    def __init__(self, obj: Tensor) -> None:
        super().__init__(obj.get_device())


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the device computes in bfloat16: each that is_available() takes does.

    >>> tw.cuda.is_bf16_supported() == tw.cuda.is_available()
    True
    """
    return is_available()


def get_device_name(device: Any = None) -> str:
    """What the card is called. RuntimeError where there is none."""
    return _served("get_device_name", device).name()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability, (9, 0) of an H200. RuntimeError where there is no device."""
    return _served("get_device_capability", device).capability()


@dataclass(frozen=True)
class DeviceProperties:
    """What get_device_properties() tells of a card; `total_memory` in bytes, `major` and `minor`
    its compute capability."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_device_properties(device: Any = None) -> DeviceProperties:
    """The card's name, compute capability, memory and number of multiprocessors. RuntimeError where
    there is no device.

    >>> if tw.cuda.is_available():
    ...     assert tw.cuda.get_device_properties().total_memory > 0
    """
    served = _served("get_device_properties", device)
    memory = served.card_memory()[1]
    return DeviceProperties(
        served.name(), *served.capability(), total_memory=memory,
        multi_processor_count=served.multiprocessors(),
    )  # fmt: skip


def synchronize(device: Any = None) -> None:
    """Waits until all that was launched has ended.

    RuntimeError where some of it failed, by the kernel's name, or where there is no device.
    """
    _served("synchronize", device).synchronize()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of the card that are free for all its users, and all that it has: the driver's figures.
    RuntimeError where there is no device.

    >>> if tw.cuda.is_available():
    ...     free, total = tw.cuda.mem_get_info()
    ...     assert free <= total
    """
    return _served("mem_get_info", device).card_memory()


def memory_allocated(device: Any = None) -> int:
    """Bytes of the device in use by arrays; 0 before its first use.

    >>> tw.cuda.memory_allocated() >= 0
    True
    """
    return 0 if beside.provider is None else beside.provider.memory()[0]


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the device, those that wait for their next use among them.

    >>> tw.cuda.memory_reserved() >= tw.cuda.memory_allocated()
    True
    """
    return 0 if beside.provider is None else beside.provider.memory()[1]


def empty_cache() -> None:
    """Gives memory that no array uses back to the device.

    >>> tw.cuda.empty_cache()
    """
    if beside.provider is not None:
        beside.provider.empty_cache()


# --- random numbers: the CPU's stream, so that one seed gives the same numbers on both ---


def manual_seed(seed: int) -> None:
    """Starts the random numbers anew: the device's are the CPU's stream, so that one seed gives the
    same numbers on both. Nothing is done where there is no device.

    >>> tw.cuda.manual_seed(1)
    """
    if is_available():
        functional.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """manual_seed by its other name.

    >>> tw.cuda.manual_seed_all(1)
    """
    manual_seed(seed)


def initial_seed() -> int:
    """The seed in use, which is the CPU's. RuntimeError where there is no device."""
    _served("initial_seed")
    return functional.initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of the random numbers, tilework.get_rng_state()'s: a tensor on the CPU.
    RuntimeError where there is no device."""
    _served("get_rng_state", device)
    return functional.get_rng_state()


def get_rng_state_all() -> list[Tensor]:
    """The states of all devices: of the first, where there is one.

    >>> len(tw.cuda.get_rng_state_all()) == int(tw.cuda.is_available())
    True
    """
    return [get_rng_state()] if is_available() else []


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Goes on from a state of get_rng_state(), the CPU's random numbers too. Nothing is done where
    there is no device; ValueError on another thing than a state.

    >>> tw.cuda.set_rng_state(tw.get_rng_state())
    """
    if is_available():
        functional.set_rng_state(new_state)


def set_rng_state_all(new_states: Sequence[Tensor]) -> None:
    """set_rng_state() of get_rng_state_all()'s states.

    >>> tw.cuda.set_rng_state_all(tw.cuda.get_rng_state_all())
    """
    for state in new_states[:1]:
        set_rng_state(state)


# --- streams and events ---


class _Before(threading.local):
    """The streams to go back to, of the `with` statements that a thread is in."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []


_before = _Before()


class Stream:
    """A line of the device's work: what is launched in it runs in its order, beside what other
    streams do. RuntimeError where there is no device.

    As PyTorch's it does not wait for the default stream: wait_stream() where it reads what was made
    in another. Memory goes back to the stream that it was taken in, so a tensor must not be let go
    before other streams that read it have come past that: keep it until they are waited for.

        side = tw.cuda.Stream()
        side.wait_stream(tw.cuda.current_stream())
        with tw.cuda.stream(side):
            y = x @ x
        tw.cuda.current_stream().wait_stream(side)
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        """The lower its `priority` the sooner it gets its turn: -1 before 0."""
        self._stream = _served("Stream", device).stream(priority)

    @property
    def cuda_stream(self) -> int:
        """Its handle, a cudaStream_t, for other libraries."""
        return self._stream.ptr

    def __cuda_stream__(self) -> tuple[int, int]:
        """The protocol of CUDA's Python libraries: its version, and the handle."""
        return 0, self._stream.ptr

    @property
    def device(self) -> device_type:
        """The device whose work it is."""
        return CUDA

    def query(self) -> bool:
        """Whether all that was launched in it has ended."""
        return self._stream.query()

    def synchronize(self) -> None:
        """Waits until it has. RuntimeError, by the kernel's name, where some of it failed."""
        self._stream.synchronize()

    def record_event(self, event: Event | None = None) -> Event:
        """Marks what was launched in it until now, by the event given or a new one, and returns
        that."""
        made = Event() if event is None else event
        made.record(self)
        return made

    def wait_event(self, event: Event) -> None:
        """What is launched in it from now on begins when the device has come to the mark; nobody
        else waits."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """The same, for all that was launched in another stream until now."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Stream:
        _before.streams.append(current_stream())
        set_stream(self)
        return self

    def __exit__(self, *_: object) -> None:
        set_stream(_before.streams.pop())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return self._stream.ptr == other._stream.ptr

    def __hash__(self) -> int:
        return hash(self._stream.ptr)

    def __repr__(self) -> str:
        return f"<tilework.cuda.Stream device={CUDA} cuda_stream={self._stream.ptr:#x}>"


def _of(stream: Any) -> Stream:
    """A provider's stream by this page's class."""
    made = object.__new__(Stream)
    made._stream = stream
    return made


def current_stream(device: Any = None) -> Stream:
    """The stream that this thread's launches and copies go to, CuPy's current one: the default one,
    until another is taken by stream(), set_stream() or CuPy. RuntimeError where there is no
    device."""
    return _of(_served("current_stream", device).current_stream())


def default_stream(device: Any = None) -> Stream:
    """The stream that is taken unless another is. RuntimeError where there is no device."""
    return _of(_served("default_stream", device).default_stream())


def set_stream(stream: Stream | None) -> None:
    """Takes a stream for this thread, until another is taken; None: as it is. TypeError on another
    thing.

    >>> tw.cuda.set_stream(None)
    """
    if stream is not None:
        _need("set_stream", stream)._stream.use()


def _need(op: str, stream: Any) -> Stream:
    if not isinstance(stream, Stream):
        raise error(TypeError, op, "a tilework.cuda.Stream", word(stream), "make one")
    return stream


class StreamContext:
    """`with` a stream, this thread's launches and copies go to it; None: as it is. What stream()
    gives. TypeError on another thing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = None if stream is None else _need("stream", stream)

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.__enter__()

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.__exit__()


def stream(stream: Stream | None) -> StreamContext:
    """`with tw.cuda.stream(side):` work goes to the stream `side`; with None nothing changes.
    TypeError on another thing.

    >>> with tw.cuda.stream(None):
    ...     x = tw.ones(2)
    """
    return StreamContext(stream)


class Event:
    """A mark in the device's work, to wait for or to measure by. RuntimeError where there is no
    device.

        start, end = (tw.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        y = x @ x
        end.record()
        end.synchronize()
        print(start.elapsed_time(end), "ms")
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        """`blocking` and `interprocess` are taken, and change nothing."""
        self._timed = enable_timing
        self._event = _served("Event").event(enable_timing)

    def record(self, stream: Stream | None = None) -> None:
        """Marks what was launched until now, in `stream` or in the current one."""
        self._event.record(None if stream is None else _need("record", stream)._stream)

    def wait(self, stream: Stream | None = None) -> None:
        """What is launched from now on, in `stream` or in the current one, begins when the device
        has come to the mark."""
        waiting = current_stream() if stream is None else _need("wait", stream)
        waiting._stream.wait(self._event)

    def query(self) -> bool:
        """Whether the device has come to the mark."""
        return self._event.query()

    def synchronize(self) -> None:
        """Waits until it has."""
        self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to another. ValueError unless both were made with
        enable_timing."""
        if not (self._timed and end_event._timed):
            raise error(
                ValueError, "elapsed_time", "events with enable_timing=True", "others",
                "make both so",
            )  # fmt: skip
        return self._event.elapsed_time(end_event._event)
