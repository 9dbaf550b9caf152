"""Matrix products by NumPy's BLAS, and the linear layer's fused calls around them."""

import math
from typing import Any

import numpy as np

from tilework.dtypes import bfloat16
from tilework.engines.numba.compiled import quiet
from tilework.engines.numba.layout import Array, widened
from tilework.engines.numba.pointwise import activate, activation_gradient
from tilework.engines.numba.reduce import sum


class PackedWeight:
    """A frozen weight (N, K). BLAS packs on each call whatever we do: it is held as it came."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight

    @property
    def nbytes(self) -> int:
        return 0


def pack_weight(weight: Array) -> PackedWeight:
    return PackedWeight(weight)


def _for_blas(x: Array) -> Array:
    """`x`, copied where BLAS cannot read its matrices: NumPy multiplies those without it."""
    rows, columns = x.shape[-2:]
    row_step, column_step = (stride // x.itemsize for stride in x.strides[-2:])
    readable = (column_step == 1 and row_step >= columns) or (row_step == 1 and column_step >= rows)
    return x if readable else np.ascontiguousarray(x)


def _rounded(x: Array | None, dtype: np.dtype[Any]) -> Array | None:
    return None if x is None else x.astype(dtype, copy=False)


@quiet
def matmul(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Array:
    product: Array = np.matmul(_for_blas(widened(a)), _for_blas(widened(b)))
    if out is None:
        return product.astype(a.dtype, copy=False)
    out[...] = widened(out) + product if accumulate else product
    return out


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


@quiet
def linear_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    residual: Array | None,
    activation: str,
    save: bool,
    packed: PackedWeight | None = None,
) -> tuple[Array, Array | None]:
    dtype = x.dtype
    x, weight = widened(x), widened(weight)
    z = np.matmul(_for_blas(_rows(x)), _for_blas(weight).T).reshape(*x.shape[:-1], weight.shape[0])
    if bias is not None:
        z += widened(bias)
    if residual is not None:
        z += widened(residual)
    y, saved = activate(z, activation, save)
    out = y.astype(dtype, copy=False)
    return out, out if saved is y else _rounded(saved, dtype)


@quiet
def linear_backward(
    grad: Array,
    x: Array,
    weight: Array,
    saved: Array | None,
    activation: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_residual: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    dtype = x.dtype
    x, weight = widened(x), widened(weight)
    dz = activation_gradient(widened(grad), None if saved is None else widened(saved), activation)
    bias = sum(_rows(dz), (0,), False) if need_bias else None
    if dtype == bfloat16:  # as the compiled engine multiplies it
        dz = widened(dz.astype(dtype))
    rows = _rows(dz)
    gradients = (
        np.matmul(rows, weight).reshape(x.shape) if need_x else None,
        np.matmul(rows.T, _rows(x)) if need_weight else None,
        bias,
        (dz.copy() if dz is grad else dz) if need_residual else None,
    )
    dx, dweight, dbias, dresidual = (_rounded(g, dtype) for g in gradients)
    return dx, dweight, dbias, dresidual
