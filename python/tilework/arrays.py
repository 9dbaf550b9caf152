"""Whose an array is: NumPy's, or another library's that computes as it does.

Ops that have no engine entry are written over the namespace of their array, and so serve a device's
arrays as they are. What they take of NumPy itself stands here: its classes, for what users give
beside tensors, and what concerns shapes and floating-point flags alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

ndarray = np.ndarray
scalar = np.generic  # a NumPy number: what NumPy's functions give for an array without axes
errstate = np.errstate  # quiet while NumPy computes; a device raises no flags
host: Any = np  # the namespace of arrays in the memory of the CPU
broadcast_shapes = np.broadcast_shapes
iinfo = np.iinfo

_adopted: dict[Any, Any] = {}  # classes and their namespaces


def adopt(kind: type, namespace: Any) -> None:
    """Says that arrays of a class are another library's, which computes by `namespace`: of one that
    has no __array_namespace__, as CuPy."""
    _adopted[kind] = namespace


def namespace(array: Array) -> Any:
    """The module whose functions compute on `array`.

    >>> namespace(np.zeros(2)).__name__
    'numpy'
    """
    if array.__class__ is ndarray:
        return np
    if array.__class__ in _adopted:
        return _adopted[array.__class__]
    own = getattr(array, "__array_namespace__", None)  # NumPy 1.26 has none, nor have numbers
    return np if own is None else own()


def is_array(value: Any) -> bool:
    """Whether `value` is an array, of whatever library: no number, no tensor."""
    if value.__class__ is ndarray or value.__class__ in _adopted:
        return True
    return isinstance(value, ndarray) or (
        hasattr(value, "__array_namespace__") and not isinstance(value, scalar)
    )


def as_array(found: Any, dtype: Any = None) -> Array:
    """What a function gave, as an array of its own library: of an array without axes NumPy's give
    numbers. In `dtype`, where one is given."""
    if found.__class__ is ndarray and (dtype is None or found.dtype is dtype):
        return found
    return namespace(found).asarray(found, dtype=dtype)


_SMALL = 4096  # elements, up to which counting takes less than NumPy's any() does to begin


def may_hold(found: Array) -> bool:
    """Whether a mask (or numbers that are not 0) holds anywhere. A device is not asked, since that
    would be to wait for it: its answer is True, and what is done then must be right, though it be
    needless, where the mask holds nowhere."""
    if found.__class__ is ndarray:
        if found.size <= _SMALL:
            return bool(np.count_nonzero(found))
        return bool(found.any())
    return bool(found) if isinstance(found, scalar) else True


def largest(array: Array, least: float, axis: int | None = None) -> Array:
    """The largest element, along an axis or of all: `least` where there is none as large. CuPy's
    max has no `initial`."""
    if array.__class__ is ndarray:
        return array.max(axis=axis, initial=least)
    xp = namespace(array)
    if array.size:
        return xp.maximum(array.max(axis=axis), least)
    shape = () if axis is None else (*array.shape[:axis], *array.shape[axis + 1 :])
    return xp.full(shape, least, dtype=array.dtype)


def address(array: Array) -> int:
    """Where the first element lies."""
    own = getattr(array, "__array_interface__", None)
    if own is None and array.__class__ in _adopted:
        of_cupy: int = array.data.ptr  # a tenth of the time of making its interface
        return of_cupy
    found: int = (array.__cuda_array_interface__ if own is None else own)["data"][0]
    return found


def writeable(array: Array) -> bool:
    """Whether the array may be written to. A device's arrays have no such flag."""
    return bool(getattr(array.flags, "writeable", True))


def set_writeable(array: Array, allowed: bool) -> None:
    """Lets an array of the host's be written to, or no longer."""
    if array.__class__ is ndarray:
        array.flags.writeable = allowed


def strided(flat: Array, shape: Any, dtype: Any, offset: int, strides: Any) -> Array:
    """A view into an array of one axis, of its dtype, from `offset` on; that and the strides are in
    bytes."""
    if flat.__class__ is ndarray:
        return ndarray(shape, dtype, flat, offset, strides)
    part = flat[offset // dtype.itemsize :] if offset else flat
    return namespace(flat).lib.stride_tricks.as_strided(part, shape=shape, strides=strides)


def gathering_key(axis: int, index: Array) -> tuple[Any, ...]:
    """The key under which x[key] is what gathering along `axis` gives.

    >>> x = np.array([[1, 2], [3, 4]])
    >>> x[gathering_key(1, np.array([[1], [0]]))].tolist()
    [[2], [3]]
    """
    key: list[Any] = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    key[axis] = index
    return tuple(key)
