"""A CUDA device that is simulated: tilework's kernels, run by the CPU, for tests.

Its arrays are stand-ins (stand_in.py), which no function of NumPy's accepts: a forgotten copy to
the host fails. Their memory is the simulator's, which knows its bounds, and is poison until it is
written to. The kernels are those of the extension module _cudasim, which no wheel has:
docs/gpu.md tells how to build it.

    with simulated.device(order="reverse"):
        x = tw.ones(3).to("cuda")
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tilework import engines
from tilework.engines.cuda import errors
from tilework.testing import stand_in

_CARD = 2**30  # bytes
ORDERS = ("forward", "reverse", "random")


def refusal() -> str:
    """Why there is no simulated device here; empty where there is one."""
    if importlib.util.find_spec("tilework._cudasim") is None:
        return "the simulator (_cudasim) is not built here"
    return ""


class Simulated:
    """The provider (engines/device.py) of the simulated device."""

    kind = stand_in.StandIn
    namespace = stand_in.namespace

    def __init__(self) -> None:
        from tilework import _cudasim

        self.module = _cudasim
        self.launched: dict[str, int] = {}  # how often, by the kernel's name
        self.crossings = stand_in.crossings  # what went to the host and came from there
        self.crossings.clear()
        self._lines, self.line = 0, Line(self, 0)

    def home(self, array: Any) -> Any:
        """`array` where it lies in the device's memory, else a copy that does."""
        if self._is_here(array):
            return array
        order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
        moved = self._fresh(tuple(array.shape[i] for i in order), array.dtype)
        moved = moved.transpose(np.argsort(order)) if array.ndim else moved
        moved[...] = array
        return moved

    def _is_here(self, array: Any) -> bool:
        base = array
        while not isinstance(base, memoryview) and base is not None:
            base = getattr(base, "base", None)  # as_strided's views have an object between
        return base is not None and isinstance(base.obj, self.module.DeviceMemory)

    def _fresh(self, shape: tuple[int, ...], dtype: Any) -> Any:
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = memoryview(self.module.DeviceMemory(max(count, 1)))
        return np.frombuffer(memory, np.uint8, count).view(dtype).reshape(shape)

    def to_device(self, array: Any) -> Any:
        """A copy in the device's memory, its layout kept."""
        self.crossings["to_device"] += 1
        return stand_in.StandIn(array.copy("K"))

    def to_host(self, array: Any) -> Any:
        """A copy in the CPU's memory, its layout kept."""
        self.crossings["to_host"] += 1
        self.synchronize()
        return array._held.copy("K")

    def mapped(self, count: int) -> Any:
        """Zeros that both the host and kernels write to."""
        words = self._fresh((count,), np.dtype(np.int64))
        words[:] = 0
        return words

    def launch(self, kernel: str, grid: Any, block: Any, shared: int, slots: list[Any]) -> None:
        """Runs a kernel. RuntimeError (Fault) on what a card must not do."""
        self.launched[kernel] = self.launched.get(kernel, 0) + 1
        self.module.launch(kernel, grid, block, shared, tuple(slots))

    def pinned(self, array: Any) -> Any:
        """A copy, which is known by its memory: all of the host's can be reached."""
        order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
        dense = array.transpose(order)
        made = np.frombuffer(_Pinned(dense.tobytes()), array.dtype).reshape(dense.shape)
        return made.transpose(np.argsort(order)) if order else made

    def is_pinned(self, array: Any) -> bool:
        """Whether the array is one of pinned()'s."""
        base = array
        while isinstance(base, (np.ndarray, memoryview)):
            base = base.obj if isinstance(base, memoryview) else base.base
        return isinstance(base, _Pinned)

    def synchronize(self) -> None:
        """A launch has ended when it returns: indices that lay outside are told."""
        errors.check()

    def event(self, timed: bool) -> Mark:
        """A mark, whose time is the host's."""
        return Mark()

    def stream(self, priority: int) -> Line:
        """A new line, which is as idle as the others: a launch has ended when it returns."""
        self._lines += 1
        return Line(self, self._lines)

    def current_stream(self) -> Line:
        """The one that is in use."""
        return self.line

    def default_stream(self) -> Line:
        """The first."""
        return Line(self, 0)

    def count(self) -> int:
        """One."""
        return 1

    def name(self) -> str:
        """What the device is called."""
        return "simulated"

    def capability(self) -> tuple[int, int]:
        """That of the architecture whose limits hold launches."""
        return (8, 0)

    def multiprocessors(self) -> int:
        """One: blocks run one after another."""
        return 1

    def card_memory(self) -> tuple[int, int]:
        """What arrays leave of a gigabyte, and that."""
        return _CARD - self.module.allocated_bytes(), _CARD

    def memory(self) -> tuple[int, int]:
        """Bytes in use, and taken: the same."""
        used = self.module.allocated_bytes()
        return used, used

    def empty_cache(self) -> None:
        """Nothing: no memory waits."""


class _Pinned(bytearray):
    """Memory that counts as pinned."""


class Line:
    """A stream of a device that has done everything at once."""

    def __init__(self, served: Simulated, number: int) -> None:
        self._served, self.ptr = served, number

    def query(self) -> bool:
        """Nothing is under way."""
        return True

    def synchronize(self) -> None:
        """Indices that lay outside are told."""
        errors.check()

    def wait(self, event: Mark) -> None:
        """The device has come to every mark."""

    def use(self) -> None:
        """Makes it the one in use."""
        self._served.line = self


class Mark:
    """An event of a device that has done everything at once."""

    def record(self, stream: Line | None = None) -> None:
        """Marks what was launched until now."""
        self.time = time.perf_counter()

    def query(self) -> bool:
        """Whether the device has come to the mark."""
        return True

    def synchronize(self) -> None:
        """Nothing is awaited."""

    def elapsed_time(self, end: Mark) -> float:
        """Milliseconds of the host's clock."""
        return 1000.0 * (end.time - self.time)


@contextmanager
def device(order: str = "random", seed: int = 1, races: bool = True) -> Iterator[Simulated]:
    """Serves device "cuda" by the simulator, its threads in one of ORDERS."""
    made = Simulated()
    made.module.set_order(order, seed)
    made.module.set_races(races)
    stand_in.set_home(made.home)
    engines.serve(made)
    try:
        yield made
    finally:
        engines.serve(None)
        stand_in.set_home(None)
