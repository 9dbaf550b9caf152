"""CUDA devices, by PyTorch's names: whether there is one, waiting for it, marks in its work, and
its memory.

>>> device = tw.device("cuda" if tw.cuda.is_available() else "cpu")
>>> tw.ones(2, device=device).sum().item()
2.0
"""

from __future__ import annotations

from typing import Any

from tilework.devices import resolved
from tilework.engines import device as beside
from tilework.engines import found
from tilework.errors import error

__all__ = [
    "Event", "current_device", "device_count", "empty_cache", "get_device_capability",
    "get_device_name", "is_available", "is_bf16_supported", "manual_seed", "manual_seed_all",
    "memory_allocated", "memory_reserved", "set_device", "synchronize", "why_not",
]  # fmt: skip


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


def current_device() -> int:
    """The number of the device that tensors live on: 0. RuntimeError where there is none."""
    beside.needed("current_device", "'cuda'")
    return 0


def set_device(device: Any) -> None:
    """Does nothing but to check that the device is here: tensors live on the first. RuntimeError
    where it is not."""
    if resolved("set_device", device).type == "cpu":
        raise error(ValueError, "set_device", "a CUDA device", "the CPU", "name cuda, or 0")


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the device computes in bfloat16: each that is_available() takes does.

    >>> tw.cuda.is_bf16_supported() == tw.cuda.is_available()
    True
    """
    return is_available()


def get_device_name(device: Any = None) -> str:
    """What the card is called. RuntimeError where there is none."""
    return beside.needed("get_device_name", "'cuda'").name()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability, (9, 0) of an H200. RuntimeError where there is no device."""
    return beside.needed("get_device_capability", "'cuda'").capability()


def synchronize(device: Any = None) -> None:
    """Waits until all that was launched has ended.

    RuntimeError where some of it failed, by the kernel's name, or where there is no device.
    """
    beside.needed("synchronize", "'cuda'").synchronize()


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


def manual_seed(seed: int) -> None:
    """Starts the random numbers of the device anew: they are the CPU's stream, so that one seed
    gives the same numbers on both. Nothing is done before a device is used.

    >>> tw.cuda.manual_seed(1)
    """
    if beside.provider is not None:
        from tilework import functional

        functional.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """manual_seed by its other name.

    >>> tw.cuda.manual_seed_all(1)
    """
    manual_seed(seed)


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
        self._event = beside.needed("Event", "'cuda'").event(enable_timing)

    def record(self, stream: Any = None) -> None:
        """Marks what was launched until now."""
        self._event.record()

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
