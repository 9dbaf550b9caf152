"""How a plan launches kernels, and lays out what it gives them."""

from __future__ import annotations

from typing import Any

from tilework.arrays import address, ndarray
from tilework.engines import device
from tilework.engines.layout import empty, empty_as, memory_order

__all__ = [
    "blocks_for",
    "contiguous",
    "empty",
    "empty_as",
    "launch",
    "memory_order",
]

Array = Any
MOST_BLOCKS = 2**31 - 1  # of a grid, along x; along y and z 65535


def launch(
    kernel: str, grid: int | tuple[int, ...], block: int | tuple[int, ...], *args: Any,
    shared: int = 0,
) -> None:  # fmt: skip
    """Runs `kernel` on grid x block threads, with `shared` bytes of dynamic shared memory.

    Arguments are arrays (their first element's address), None (null), ints and floats, as the
    TW_KERNEL takes them. Nothing is launched where the grid is empty.
    """
    blocks, threads = _three(grid), _three(block)
    if 0 in blocks:
        return
    served: Any = device.provider
    served.launch(kernel, blocks, threads, shared, [_slot(a) for a in args])


def _three(given: int | tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (given, 1, 1) if isinstance(given, int) else (*given, 1, 1)[:3]
    return x, y, z


def _slot(value: Any) -> Any:
    if value is None or value.__class__ in (int, float):
        return value
    if isinstance(value, (bool, int)):
        return int(value)
    if value.__class__ is ndarray:
        raise TypeError("an array of the host's for a kernel")  # dispatching() lets none in
    return address(value)


def contiguous(x: Array) -> Array:
    """`x` where it lies in C order, else a copy that does."""
    if x.flags.c_contiguous:
        return x
    from tilework.engines.cuda.copy import copy  # which launches by this file

    return copy(x, False)


def blocks_for(count: int, threads: int) -> int:
    """How many blocks of `threads` have a thread for each of `count`."""
    return -(-count // threads)
