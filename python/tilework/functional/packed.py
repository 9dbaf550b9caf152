"""Weights kept in the order that kernels read, as long as nothing is written to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilework import engines
from tilework.tensor import Tensor

# Below this many elements a packed copy saves nothing over packing on the fly.
_WORTH_PACKING = 64 * 64


class _Packed:
    """A packed weight, and what it was made of: it serves while all of that is as it was."""

    __slots__ = ("array", "generation", "value", "version")

    def __init__(self, array: Any, version: int, generation: int) -> None:
        self.array = array
        self.version = version
        self.generation = generation
        self.value: Any = None  # made at the second sight of one version: it will be seen again

    def fits(self, array: Any, version: int, generation: int) -> bool:
        return self.array is array and self.version == version and self.generation == generation


def packed_weight(weight: Tensor, taped: bool, pack: Callable[[Any], Any]) -> Any:
    """pack(the weight's array) where that is known or worth making, else None.

    A call on the tape makes none, since the weight is about to change.
    """
    storage = weight._storage
    cache = storage.packed
    if taped and cache is None and not storage.frozen:
        return None
    if storage.exposed and not storage.frozen:
        return None
    array = weight._array
    if cache is None or not cache.fits(array, storage.version, engines.generation):
        if array.size < _WORTH_PACKING:
            return None
        storage.packed = cache = _Packed(array, storage.version, engines.generation)
        if not storage.frozen:
            return None
    if cache.value is None:
        cache.value = pack(array)
    return cache.value
