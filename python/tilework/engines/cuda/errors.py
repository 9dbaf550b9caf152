"""Indices that lie outside of their axis, found by kernels and raised as Python's errors.

A kernel cannot raise, and to wait for its answer would stop the queue of launches at each op. So a
launch that reads indices is given two words in the host's memory, which kernels reach
(Provider.mapped) and write to where an index lies outside: base/indices.cuh. They are read where
the host waits for the device anyway (item(), cpu(), synchronize()), by check(), which names the op
in the CPU's words. Until then an op's result is of no meaning, but no memory is touched that is
not its own.

    launch("gather_uint32_t", grid, block, y, x, index, ..., outside("gather", length))
"""

from __future__ import annotations

import itertools
from typing import Any

from tilework.engines import device
from tilework.errors import error

# More than a device's queue holds (about a thousand launches): when a launch is given the words of
# an earlier one, that one has ended.
_PLACES = 2048
_WORD = 8


class _Words:
    """The words of a provider's launches, and what each launch looked for."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.words = provider.mapped(2 * _PLACES)
        self.start = self.words.__array_interface__["data"][0]
        self.view = memoryview(self.words)  # one of its words costs a hundredth of an array's
        self.launches: list[Any] = [None] * _PLACES
        self.turn = itertools.count()  # one step of it is whole, whichever thread takes it

    def take(self, launch: tuple[str, int, int]) -> int:
        place = next(self.turn) % _PLACES
        if self.view[2 * place] or self.view[2 * place + 1]:
            self.raise_at(place)
        self.launches[place] = launch
        return int(self.start) + 2 * _WORD * place

    def check(self) -> None:
        if self.words.any():
            turns = next(self.turn)
            oldest = (turns + k for k in range(_PLACES))
            for place in (turn % _PLACES for turn in oldest):
                if self.view[2 * place] or self.view[2 * place + 1]:
                    self.raise_at(place)

    def raise_at(self, place: int) -> None:
        low, high = self.view[2 * place : 2 * place + 2]
        self.words[:] = 0  # what came of it is of no meaning either
        op, length, wrap = self.launches[place]
        raise error(
            IndexError, op, f"indices in [{-wrap}, {length})", high % 2**64 - 1 if high else low,
            "check the index",
        )  # fmt: skip


_held: _Words | None = None


def outside(op: str, length: int, wraps: bool = False) -> int:
    """The address of the words of one launch: what its kernel gives index_below().

    Indices of `op` are to lie within [0, length), or from -length on where negative ones count
    from the end.
    """
    global _held
    if _held is None or _held.provider is not device.provider:
        _held = _Words(device.provider)
    return _held.take((op, length, length if wraps else 0))


def check() -> None:
    """Raises IndexError, of the first launch that met an index outside; called when the host has
    waited for the device. It costs two microseconds."""
    if _held is not None and _held.provider is device.provider:
        _held.check()
