"""CUDA devices by CuPy: its arrays, its memory pool, its current stream.

Kernels come from the extension module _cuda where this build has it, else from the shipped sources
by NVRTC (cubins.py). Nothing here waits for the device but what says so.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections import deque
from functools import partial
from typing import Any, Protocol

import cupy
import numpy as np

from tilework import arrays
from tilework.engines import extension, found
from tilework.engines.cuda import cubins, errors
from tilework.engines.cuda.launch import memory_order
from tilework.errors import error

Array = Any
Three = tuple[int, int, int]
_SHARED_UNASKED = 32 * 1024  # as csrc/base/shared_memory.h has it
_WORD = 2**64 - 1
_REMEMBERED = 8  # of the kernels launched last


class Launcher(Protocol):
    """A way to launch a kernel by its name, on the current stream."""

    def __call__(
        self, kernel: str, grid: Three, block: Three, shared: int, slots: list[Any]
    ) -> None: ...


class FromModule:
    """Launches the kernels of _cuda."""

    def __init__(self, module: Any) -> None:
        self._launch = module.launch

    def __call__(
        self, kernel: str, grid: Three, block: Three, shared: int, slots: list[Any]
    ) -> None:
        stream = cupy.cuda.get_current_stream().ptr
        self._launch(kernel, grid, block, shared, stream, tuple(slots))


class FromSources:
    """Launches the kernels that NVRTC compiles, each family's at its first use."""

    def __init__(self, capability: int) -> None:
        cubins.check_compiler()
        self._capability = capability
        self._modules: dict[str, Any] = {}  # by the compiled file
        self._kernels: dict[str, Any] = {}
        self._shared: dict[str, int] = {}  # the dynamic shared memory that a kernel was allowed

    def __call__(
        self, kernel: str, grid: Three, block: Three, shared: int, slots: list[Any]
    ) -> None:
        function = self._kernels.get(kernel) or self._loaded(kernel)
        if shared > self._shared.get(kernel, _SHARED_UNASKED):
            function.max_dynamic_shared_size_bytes = shared
            self._shared[kernel] = shared
        # Every parameter has 8 bytes (csrc/base/cuda.cuh), pointers as whole numbers; of a whole
        # number, which may be a seed of 64 bits or below zero, the low ones.
        given = [
            np.float64(s) if s.__class__ is float else np.uint64((s or 0) & _WORD) for s in slots
        ]
        function(grid, block, tuple(given), shared_mem=shared)

    def _loaded(self, kernel: str) -> Any:
        path = str(cubins.file_of(kernel, self._capability))
        if path not in self._modules:
            self._modules[path] = cupy.RawModule(path=path)
        function = self._kernels[kernel] = self._modules[path].get_function(kernel)
        return function


def _launcher(capability: tuple[int, int]) -> Launcher:
    if importlib.util.find_spec("tilework._cuda") is None:
        return FromSources(10 * capability[0] + capability[1])
    module = importlib.import_module("tilework._cuda")
    extension.check_version(module)
    return FromModule(module)


class OnCupy:
    """The provider (engines/device.py) of CUDA devices.

    RuntimeError on a card that is too old, ImportError where there are no kernels.
    """

    kind = cupy.ndarray
    namespace = cupy

    def __init__(self) -> None:
        if self.capability() < found.OLDEST:
            raise error(
                RuntimeError, "cuda", "a card of compute capability 8.0 or later (2020)",
                f"{self.name()}, of {'.'.join(map(str, self.capability()))}", "stay with 'cpu'",
            )  # fmt: skip
        arrays.adopt(cupy.ndarray, cupy)
        self._launch = _launcher(self.capability())
        self._last: deque[str] = deque(maxlen=_REMEMBERED)
        self._under_way: deque[tuple[Any, Array]] = deque()  # copies from pinned memory
        # GH200, and Linux's heterogeneous memory: such a copy is not staged, and goes on for as
        # long as it likes after it was asked for.
        ask = cupy.cuda.runtime
        self._reads_pageable = bool(
            ask.deviceGetAttribute(ask.cudaDevAttrPageableMemoryAccess, cupy.cuda.Device().id)
        )

    # --- arrays ---

    def to_device(self, array: Array) -> Array:
        """A copy of a NumPy array in the device's memory, its layout kept. It is queued on the
        current stream; memory that is not pinned may be written to again when this returns."""
        dense, back = _dense(array)
        made = cupy.empty(dense.shape, dense.dtype)
        if dense.size:
            stream = cupy.cuda.get_current_stream()
            made.data.copy_from_host_async(dense.ctypes.data, dense.nbytes, stream)
            self._hold(dense, stream)
        return made.transpose(back)

    def _hold(self, array: Array, stream: Any) -> None:
        """Keeps pinned memory until the device has read it. What is not pinned, the driver has
        read when the copy is queued; where the device reads that itself, it is waited for."""
        while self._under_way and self._under_way[0][0].done:
            self._under_way.popleft()
        if _is_pinned(array):
            self._under_way.append((stream.record(), array))
        elif self._reads_pageable:
            stream.synchronize()

    def to_host(self, array: Array) -> Array:
        """A copy in the CPU's memory, its layout kept, done when this returns."""
        dense, back = _dense(array)
        return self._waited("to_host", dense.get).transpose(back)

    def pinned(self, array: Array) -> Array:
        """A copy in memory of the CPU that the device reads by itself, its layout kept."""
        dense, back = _dense(array)
        memory = cupy.cuda.alloc_pinned_memory(max(dense.nbytes, 1))
        made = np.frombuffer(memory, np.uint8, dense.nbytes).view(dense.dtype).reshape(dense.shape)
        made[...] = dense
        return made.transpose(back)

    def is_pinned(self, array: Array) -> bool:
        """Whether a NumPy array lies in memory that pinned() has made."""
        return _is_pinned(array)

    def mapped(self, count: int) -> Array:
        """Zeros in pinned memory: a device has that among its own addresses."""
        return self.pinned(np.zeros(count, np.int64))

    # --- work ---

    def launch(self, kernel: str, grid: Three, block: Three, shared: int, slots: list[Any]) -> None:
        """Runs a kernel on the current stream. RuntimeError, by its name, where it cannot; where an
        earlier one has failed meanwhile, by the names of those."""
        self._last.append(kernel)
        self._watched(kernel, partial(self._launch, kernel, grid, block, shared, slots))

    def synchronize(self) -> None:
        """Waits until all that was launched has ended. RuntimeError where some of it failed."""
        self._waited("synchronize", cupy.cuda.Device().synchronize)
        self._last.clear()

    def event(self, timed: bool) -> Event:
        """A mark that is not recorded yet."""
        return Event(self, timed)

    def stream(self, priority: int) -> Stream:
        """A new line of work, which does not wait for the default stream's, as PyTorch's."""
        return Stream(self, cupy.cuda.Stream(non_blocking=True, priority=priority))

    def current_stream(self) -> Stream:
        """CuPy's current stream, which the arrays' own functions go to as well."""
        return Stream(self, cupy.cuda.get_current_stream())

    def default_stream(self) -> Stream:
        """The null stream."""
        return Stream(self, cupy.cuda.Stream.null)

    def _waited(self, op: str, work: Any) -> Any:
        """What waits for the device gives. IndexError where a kernel met an index outside."""
        result = self._watched(op, work)
        errors.check()
        return result

    def _watched(self, op: str, work: Any) -> Any:
        try:
            return work()
        except RuntimeError as reason:  # CuPy's errors of the driver and the runtime are some
            launched = ", ".join(dict.fromkeys(self._last)) or "none"
            raise error(
                RuntimeError, op, "the device to do its work",
                f"{reason} (kernels launched last: {launched})",
                "CUDA_LAUNCH_BLOCKING=1 tells which kernel it was",
            ) from reason  # fmt: skip

    # --- the card ---

    def count(self) -> int:
        """How many devices there are."""
        count: int = cupy.cuda.runtime.getDeviceCount()
        return count

    def name(self) -> str:
        """What the card is called."""
        name: bytes = self._properties()["name"]
        return name.decode()

    def _properties(self) -> dict[str, Any]:
        found: dict[str, Any] = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        return found

    def capability(self) -> tuple[int, int]:
        """The compute capability: (9, 0) of an H200."""
        digits = cupy.cuda.Device().compute_capability  # "90", "120"
        return int(digits[:-1]), int(digits[-1])

    def multiprocessors(self) -> int:
        """How many the card has."""
        found: int = self._properties()["multiProcessorCount"]
        return found

    def card_memory(self) -> tuple[int, int]:
        """Bytes of the card that are free for all its users, and all that it has."""
        free, total = cupy.cuda.runtime.memGetInfo()
        return free, total

    def memory(self) -> tuple[int, int]:
        """Bytes in use by arrays, and bytes taken from the device."""
        pool = cupy.get_default_memory_pool()
        return pool.used_bytes(), pool.total_bytes()

    def empty_cache(self) -> None:
        """Gives back what no array uses."""
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()


class Stream:
    """A line of work: a stream of CuPy's."""

    def __init__(self, served: OnCupy, stream: Any) -> None:
        self._waited = served._waited
        self.of_cupy = stream

    @property
    def ptr(self) -> int:
        """Its cudaStream_t."""
        return int(self.of_cupy.ptr)

    def query(self) -> bool:
        """Whether all that was launched in it has ended."""
        return bool(self.of_cupy.done)

    def synchronize(self) -> None:
        """Waits until it has. RuntimeError where a kernel failed."""
        self._waited("synchronize", self.of_cupy.synchronize)

    def wait(self, event: Event) -> None:
        """What is launched in it from now on begins when the device has come to the mark."""
        self.of_cupy.wait_event(event.of_cupy)

    def use(self) -> None:
        """Makes it CuPy's current stream, of this thread."""
        self.of_cupy.use()


class Event:
    """A mark in the current stream's work."""

    def __init__(self, served: OnCupy, timed: bool) -> None:
        self._waited = served._waited
        self.of_cupy = cupy.cuda.Event(disable_timing=not timed)

    def record(self, stream: Stream | None = None) -> None:
        """Marks what was launched until now, in a stream or in the current one."""
        self.of_cupy.record(cupy.cuda.get_current_stream() if stream is None else stream.of_cupy)

    def query(self) -> bool:
        """Whether the device has come to the mark."""
        return bool(self.of_cupy.done)

    def synchronize(self) -> None:
        """Waits until it has. RuntimeError where a kernel before it failed."""
        self._waited("synchronize", self.of_cupy.synchronize)

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this mark to another."""
        return float(cupy.cuda.get_elapsed_time(self.of_cupy, end.of_cupy))


def _dense(array: Array) -> tuple[Array, list[int]]:
    """The array's elements in C order, as a view where its memory is one dense run, and the
    transposition that leads back to its axes."""
    order = memory_order(array)
    if order is None:
        return array.copy("C"), list(range(array.ndim))
    back = [0] * array.ndim
    for at, axis in enumerate(order):
        back[axis] = at
    return array.transpose(order), back


def _is_pinned(array: Array) -> bool:
    base = array
    while isinstance(base, (np.ndarray, memoryview)):  # NumPy looks at a buffer through the latter
        base = base.obj if isinstance(base, memoryview) else base.base
    return isinstance(base, cupy.cuda.PinnedMemoryPointer)
