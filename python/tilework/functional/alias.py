"""Tensors that share memory: what a view was taken of, who else is there, where elements lie."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tilework.tensor import Tensor, fresh

Array = Any


def bases(x: Tensor) -> list[Tensor]:
    """The tensors that `x` is a view of, nearest first."""
    found = []
    base = getattr(x, "_base", None)  # the slot is empty but in views
    while base is not None and base._storage is x._storage:
        found.append(base)
        base = getattr(base, "_base", None)
    return found


def _holders(x: Tensor) -> int:
    return sys.getrefcount(x._storage)


_ONE = _holders(fresh(np.empty(0)))


def held_beside(x: Tensor, family: list[Tensor]) -> bool:
    """Whether anything but the tensors of `family`, of which `x` is one, holds its memory: another
    view, a detached twin, an op that saved what is there.

    Told by counting references, on the rare path that asks: a list of all views would have to be
    kept by every op that makes one.
    """
    return x._storage.shared and _holders(x) - _ONE >= len(family)


def _addresses(array: Array) -> Array:
    """Where each element lies."""
    found = np.full(array.shape, array.__array_interface__["data"][0], np.int64)
    for axis, (length, step) in enumerate(zip(array.shape, array.strides, strict=True)):
        along = np.arange(length) * step
        found += along.reshape(-1, *(1,) * (array.ndim - axis - 1))
    return found


def positions(view: Array, base: Array) -> Array:
    """For each element of `view` its position in `base`, counted in C order."""
    there = _addresses(base).reshape(-1)
    order = np.argsort(there)
    return order[np.searchsorted(there[order], _addresses(view))]


def is_part(view: Tensor, base: Tensor, key: Any) -> bool:
    """Whether `view` was taken of `base` and is base[key] to the element."""
    if not any(b is base for b in bases(view)):
        return False
    chosen = base._array[key]
    return view.shape == chosen.shape and np.array_equal(
        positions(view._array, base._array),
        np.arange(base.numel()).reshape(base.shape)[key],
    )
