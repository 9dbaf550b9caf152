"""Rows and columns: which form of a family's kernels takes them, and how many blocks.

A row that fits goes by a warp's registers, or a block's; a longer one by passes over memory.
Columns, of any axis but the last, go by threads beside each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tilework.arrays import address
from tilework.engines.cuda.launch import (
    blocks_for,
    contiguous,
    empty_as,
    launch,
    memory_order,
)

Array = Any
NAMES = {"float32": "float", "float64": "double"}
THREADS = 256  # of a block of rows or columns
_WARPS = 4  # of a block whose warps have rows of their own
_BY_A_WARP = 1024  # elements that a warp takes where it holds none
_HELD = {"float32": 32, "float64": 8}  # elements that a thread holds of a row: row.cuh


def launch_rows(name: str, held: int, rows: int, length: int, *args: Any, dtype: str) -> None:
    """Launches the form of `name` that suits `rows` rows of `length`: its threads hold an equal
    share of `held` rows at once. The counts come last among what it is given."""
    holds = _HELD[dtype] // held
    if length <= 32 * holds:
        form, grid, threads = "by_warps", blocks_for(rows, _WARPS), _WARPS * 32
    else:
        form, grid, threads = "by_passes", rows, THREADS
        if length <= THREADS * holds:
            form = "by_blocks"
    launch(f"{name}_{form}_{NAMES[dtype]}", grid, threads, *args, rows, length)


def launch_teams(name: str, rows: int, length: int, *args: Any, dtype: str) -> None:
    """As launch_rows, of a kernel that looks at its rows once and holds none."""
    if length <= _BY_A_WARP:
        form, grid, threads = "by_warps", blocks_for(rows, _WARPS), _WARPS * 32
    else:
        form, grid, threads = "by_blocks", rows, THREADS
    launch(f"{name}_{form}_{NAMES[dtype]}", grid, threads, *args, rows, length)


class Around(NamedTuple):
    """A dense array as its memory has it around an axis."""

    outer: int
    length: int
    inner: int


def around(x: Array, axis: int) -> Around:
    """Of an `x` that is dense: the stride of the axis is the size of what varies faster."""
    length = x.shape[axis]
    if x.size == 0:
        return Around(0, length, 1)
    inner = 1 if length == 1 else x.strides[axis] // x.itemsize
    return Around(x.size // (length * inner), length, inner)


def dense(x: Array) -> Array:
    """`x` where its memory is one run, else a copy in C order."""
    return contiguous(x) if memory_order(x) is None else x


def laid_as(x: Array, like: Array) -> Array:
    """`x` where its memory lies as that of `like` does, which is dense and of its shape, else a
    copy that does."""
    along = range(x.ndim)
    if all(x.shape[i] == 1 or x.strides[i] == like.strides[i] for i in along) or x.size == 0:
        return x
    made = empty_as(like)
    made[...] = x
    return made


def pack_width(count: int, *arrays: Any) -> int:
    """How many elements a thread moves at once, along an axis of `count` neighbours: 16 bytes of
    them where that divides the axis and all arrays, of one dtype, begin there; else 1."""
    given = [x for x in arrays if x is not None]
    wide = 16 // given[0].itemsize
    return wide if count % wide == 0 and not any(address(x) % 16 for x in given) else 1


def bits_for(count: int, most: int) -> int:
    """The logarithm of how many threads beside each other, 2^most at most, have `count` things."""
    return min((max(count, 1) - 1).bit_length(), most)


class Tiles(NamedTuple):
    """How blocks go over columns: packs of `width` neighbours, 2^bits of them beside each other."""

    width: int
    bits: int
    tiles: int

    @property
    def deep(self) -> int:
        """Threads of a column."""
        return THREADS >> self.bits


def tiles(inner: int, width: int, deep: int) -> Tiles:
    """For `inner` columns, of which each wants `deep` threads, if not more."""
    beside = inner // width
    bits = bits_for(beside, (THREADS // min(THREADS, max(deep, 1))).bit_length() - 1)
    return Tiles(width, bits, blocks_for(beside, 1 << bits))
