"""Copies between layouts, by NumPy's."""

from collections.abc import Sequence

import numpy as np

from tilework.engines.numba.layout import Array, empty_like
from tilework.errors import error


def copy(x: Array, keep_layout: bool) -> Array:
    out = empty_like(x) if keep_layout else np.empty(x.shape, x.dtype)
    out[...] = x
    return out


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    dtypes = {x.dtype for x in arrays}
    if len(dtypes) > 1:
        raise error(TypeError, "cat", "arrays of one dtype", dtypes, "convert them")
    return np.concatenate(arrays, axis)
