"""How a plan launches kernels, and lays out what it gives them."""

from __future__ import annotations

from typing import Any

from tilework.arrays import address, namespace, ndarray
from tilework.engines import device

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
    return (given, 1, 1) if isinstance(given, int) else (*given, 1, 1)[:3]


def _slot(value: Any) -> Any:
    if value is None or value.__class__ in (int, float):
        return value
    if isinstance(value, (bool, int)):
        return int(value)
    if value.__class__ is ndarray:
        raise TypeError("an array of the host's for a kernel")  # dispatching() lets none in
    return address(value)


def blocks_for(count: int, threads: int) -> int:
    """How many blocks of `threads` have a thread for each of `count`."""
    return -(-count // threads)


def empty(like: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """A fresh array in C order on the device of `like`, of its dtype where none is given."""
    return namespace(like).empty(shape, like.dtype if dtype is None else dtype)


def contiguous(x: Array) -> Array:
    """`x` where it lies in C order, else a copy that does."""
    if x.flags.c_contiguous:
        return x
    made = namespace(x).empty(x.shape, x.dtype)
    made[...] = x
    return made


def memory_order(x: Array) -> list[int] | None:
    """The axes of `x`, outermost first, in which its memory is one dense run; None where there is
    none such."""
    order = sorted(range(x.ndim), key=lambda i: -x.strides[i])
    step = x.itemsize
    for i in reversed(order):
        if x.shape[i] != 1:
            if x.strides[i] != step:
                return None
            step *= x.shape[i]
    return order


def empty_as(x: Array, dtype: Any = None) -> Array:
    """A fresh array of x's shape, its memory as x's lies, where x is dense; else in C order."""
    order = memory_order(x)
    if order is None or order == sorted(order):
        return empty(x, x.shape, dtype)
    back = [0] * x.ndim
    for at, i in enumerate(order):
        back[i] = at
    return empty(x, tuple(x.shape[i] for i in order), dtype).transpose(back)
