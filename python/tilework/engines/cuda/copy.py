"""Copies: between layouts, beyond edges, one array behind another."""

from __future__ import annotations

from typing import Any

from tilework.arrays import address
from tilework.engines.cuda.axes import THREADS, same_layout, walk
from tilework.engines.cuda.launch import blocks_for, empty, empty_as, launch, memory_order

__all__ = ["copy"]

Array = Any
# By the size of an element; a pack has 16 bytes.
WORDS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}
_FLAT_BYTES = 2 * 16 * THREADS  # of a block, as in copy.cuh


def copy(x: Array, keep_layout: bool) -> Array:
    made = empty_as(x) if keep_layout else empty(x, x.shape)
    copy_into(made, x)
    return made


def copy_into(to: Array, x: Array) -> None:
    """Writes x's elements to `to`, an array of its shape and dtype in any layout."""
    word = WORDS.get(x.itemsize)
    if same_layout(to, x) and word is not None:
        launch("copy_bytes", blocks_for(x.nbytes, _FLAT_BYTES), THREADS, to, x, x.nbytes)
    elif word is None or not walk("copy", word, x.shape, [to, x]):
        to[...] = x


def dense(x: Array) -> Array:
    """`x` where its memory is one dense run, in whatever order; else a copy in C order."""
    return x if x.flags.c_contiguous or memory_order(x) is not None else copy(x, False)


def laid_as(x: Array, model: Array) -> Array:
    """`x` where it lies in memory as the dense `model` does, else a copy that does."""
    if same_layout(model, x):
        return x
    made = empty_as(model, x.dtype)
    copy_into(made, x)
    return made


def contiguous(x: Array) -> Array:
    """`x` where it lies in C order, else a copy that does."""
    return x if x.flags.c_contiguous else copy(x, False)


def at_packs(*arrays: Array) -> bool:
    """Whether all begin at 16 bytes."""
    return not any(address(x) % 16 for x in arrays)
