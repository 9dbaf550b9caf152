"""What a mask chooses, by NumPy."""

import numpy as np

from tilework.engines.numba.layout import Array
from tilework.errors import error


def where(condition: Array, a: Array, b: Array) -> Array:
    return np.asarray(np.where(condition, a, b), order="C")


def masked_select(x: Array, mask: Array) -> Array:
    return x[mask]


def masked_scatter(x: Array | None, mask: Array, source: Array) -> Array:
    y = np.zeros(mask.shape, source.dtype) if x is None else x.copy("C")
    mask = mask.copy()
    count = int(np.count_nonzero(mask))
    if count > source.size:
        raise error(
            ValueError, "masked_scatter", f"a source of at least {count} elements", source.size,
            "give one for each that is true",
        )  # fmt: skip
    y[mask] = source.reshape(-1)[:count]
    return y


def nonzero(x: Array, by_axis: bool) -> Array:
    found = np.argwhere(x)
    return np.ascontiguousarray(found.T) if by_axis else found
