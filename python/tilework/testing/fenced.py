"""Arrays that end at memory which nobody may touch, and that tell what was written around them."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_PAGE = mmap.PAGESIZE
_ROOM = 16 * _PAGE
_PROT_NONE = 0


class Fence:
    """Memory between two pages without access; one array at a time lies flush with one of them."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _ROOM + 2 * _PAGE)
        self._bytes = np.frombuffer(self._map, np.uint8, _ROOM, _PAGE)
        start = self._bytes.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for page in (start - _PAGE, start + _ROOM):
            if protect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._before = b""

    def put(self, values: Array, at_end: bool) -> Array | None:
        """A copy of `values`, in C order; None where it is too large for the fence."""
        size = values.nbytes
        if size > _ROOM or values.dtype.hasobject:
            return None
        item = max(values.itemsize, 1)
        start = (_ROOM - size) // item * item if at_end else 0
        array = self._bytes[start : start + size].view(values.dtype).reshape(values.shape)
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


def _view_of(memory: Array, array: Array, offset: int) -> Array:
    return np.ndarray(array.shape, array.dtype, memory.data, offset, array.strides)
