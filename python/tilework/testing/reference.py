"""Functions that NumPy lacks, in float64: what the kernels are held against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def erf(x: Array) -> Array:
    return np.asarray(_erf(x), np.float64)


def erfc(x: Array) -> Array:
    return np.asarray(_erfc(x), np.float64)


def sigmoid(x: Array) -> Array:
    # Each side by the form that does not overflow.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def gelu(x: Array) -> Array:
    return 0.5 * x * erfc(-x / math.sqrt(2.0))  # 1 + erf(x) would cancel for negative x


def gelu_tanh(x: Array) -> Array:
    return x * sigmoid(2.0 * math.sqrt(2.0 / math.pi) * x * (1.0 + 0.044715 * x * x))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def log_softmax(x: Array, axis: int) -> Array:
    if x.shape[axis] == 0:
        return x
    shifted = x - x.max(axis=axis, keepdims=True)
    total: Array = np.exp(shifted).sum(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(total))


def softmax(x: Array, axis: int) -> Array:
    if x.shape[axis] == 0:
        return x
    e: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))
