"""A list put in the order of the places that it names: what sums by an index begin with."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tilework.arrays import namespace
from tilework.engines.cuda.errors import outside
from tilework.engines.cuda.launch import blocks_for, launch
from tilework.engines.layout import contiguous

Array = Any
_THREADS, _DIGIT, _DIGITS, _LARGEST_BLOCK = 256, 8, 256, 1024  # as in grouping.cuh
_FEW = 8192  # elements that one block puts in order
_TILE = 2048  # elements of a block, at least
_MOST_TILES = 1024  # one block sums the counts of all


class Groups(NamedTuple):
    """A list in the order of its places, those of one place in the list's own order."""

    place: Array  # uint32, ascending; `places` for what has none
    member: Array  # uint32: where each stood in the list
    places: int

    @property
    def size(self) -> int:
        return int(self.member.shape[0])


def fits(count: int, places: int) -> bool:
    """Whether lists and places are numbered by 32 bits."""
    return max(count, places + 1) < 2**32


def grouped(
    op: str, index: Array, n: int, *, wraps: bool = False, skipped: int = -1,
    lines: tuple[int, int] = (1, 1), same: bool = True,
) -> Groups:  # fmt: skip
    """An index's elements by their places: those of an array (outer, n, inner), lines being (outer,
    inner). The index is (m,) for all of outer, or with `same` false (outer, m, inner). What names
    `skipped`, or lies outside, comes last, with the place `places`."""
    xp, index = namespace(index), contiguous(index)
    outer, inner = lines
    count = index.size * outer if same else index.size
    m = index.size if same else index.size // max(outer * inner, 1)
    places = outer * n * inner
    place = xp.empty((count,), "uint32")
    launch(
        "group_keys", blocks_for(count, _THREADS), _THREADS, place, index, count, n, m, inner,
        int(same), n if wraps else 0, skipped, places, outside(op, n, wraps),
    )  # fmt: skip
    return _in_order(place, places)


def _in_order(place: Array, places: int) -> Groups:
    xp, count = namespace(place), place.size
    shifts = range(0, max(places.bit_length(), 1), _DIGIT)
    pairs = [(xp.empty((count,), "uint32"), xp.empty((count,), "uint32")) for _ in shifts[:2]]
    if count <= _FEW:
        tile = _LARGEST_BLOCK * math.ceil(count / _LARGEST_BLOCK)
        launch(
            "group_few", min(count, 1), _LARGEST_BLOCK,
            *pairs[0], *pairs[-1], place, count, tile, len(shifts),
        )  # fmt: skip
        return Groups(*pairs[(len(shifts) - 1) % 2], places)
    tile = max(_TILE, _THREADS * math.ceil(count / _MOST_TILES / _THREADS))
    blocks = blocks_for(count, tile)
    counts = xp.empty((_DIGITS * blocks,), "uint32")
    member = None
    for i, shift in enumerate(shifts):
        ordered, stood = pairs[i % 2]
        launch("group_count", blocks, _THREADS, counts, place, count, tile, shift)
        launch("group_scan", 1, _LARGEST_BLOCK, counts, counts.size)
        launch(
            "group_move", blocks, _THREADS,
            ordered, stood, place, member, counts, count, tile, shift,
        )  # fmt: skip
        place, member = ordered, stood
    return Groups(place, member, places)
