"""Arrays that end at memory which nobody may touch, and that tell what was written around them."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Side = Literal["end", "start"]

_PAGE = mmap.PAGESIZE
_PROT_NONE = 0


class Fence:
    """Memory between two pages without access; one array at a time lies flush with one of them."""

    def __init__(self, nbytes: int = 16 * _PAGE) -> None:
        self.room = -(-nbytes // _PAGE) * _PAGE
        self._map = mmap.mmap(-1, self.room + 2 * _PAGE)
        self._bytes = np.frombuffer(self._map, np.uint8, self.room, _PAGE)
        start = self._bytes.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for page in (start - _PAGE, start + self.room):
            if protect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._before = b""

    def put(self, values: Array, side: Side) -> Array | None:
        """A copy of `values`, strides and all: its last element before the page behind, or its
        first after the page in front. None where it is too large for the fence. What lay there
        before is overwritten."""
        low, high = reach(values)
        if high - low > self.room or values.dtype.hasobject:
            return None
        start = self.room - (high - low) if side == "end" else 0
        array = _view_of(self._bytes, values, start - low)
        array[...] = values
        return array

    def remember(self) -> None:
        self._before = self._bytes.tobytes()

    def written_outside(self, array: Array | None) -> bool:
        """Whether anything but `array` (None: anything at all) has changed since remember()."""
        now = self._bytes.copy()
        if array is not None:
            was = np.frombuffer(self._before, np.uint8).copy()
            offset = array.__array_interface__["data"][0] - self._bytes.ctypes.data
            _view_of(now, array, offset)[...] = _view_of(was, array, offset)
        return now.tobytes() != self._before


def reach(x: Array) -> tuple[int, int]:
    """Where the bytes of an array begin and end, counted from its first element."""
    if not x.size:
        return 0, 0
    spans = [(n - 1) * s for n, s in zip(x.shape, x.strides, strict=True)]
    return sum(s for s in spans if s < 0), sum(s for s in spans if s > 0) + x.itemsize


def _view_of(memory: Array, array: Array, offset: int) -> Array:
    return np.ndarray(array.shape, array.dtype, memory.data, offset, array.strides)
