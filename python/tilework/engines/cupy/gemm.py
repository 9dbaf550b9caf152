"""Matrix products by the array library's BLAS, cuBLAS for CuPy's; the linear layer around them."""

from __future__ import annotations

import math

from tilework.arrays import namespace
from tilework.dtypes import bfloat16
from tilework.engines.cupy.base import Array, laid_as, optional, quiet, stored, widened
from tilework.engines.cupy.pointwise import activate, activation_gradient
from tilework.engines.cupy.reduce import sum

__all__ = ["PackedWeight", "linear_backward", "linear_forward", "matmul", "pack_weight"]


class PackedWeight:
    """A frozen weight (N, K), held as it came: BLAS reads any order."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight

    @property
    def nbytes(self) -> int:
        return 0


def pack_weight(weight: Array) -> PackedWeight:
    return PackedWeight(weight)


@quiet
def matmul(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Array:
    product = namespace(a).matmul(widened(a), widened(b))
    if out is None:
        return stored(product, a.dtype)
    out[...] = stored(widened(out) + product if accumulate else product, out.dtype)
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
    dtype, product = x.dtype, namespace(x).matmul
    z = product(_rows(widened(x)), widened(weight).T).reshape(*x.shape[:-1], weight.shape[0])
    for more in (bias, residual):
        if more is not None:
            z = z + widened(more)
    y, saved = activate(z, activation, save)
    out = stored(y, dtype)
    return out, out if saved is y else optional(saved, dtype)


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
    dtype, product = x.dtype, namespace(x).matmul
    wide_grad = widened(grad)
    dz = activation_gradient(wide_grad, None if saved is None else widened(saved), activation)
    dbias = sum(_rows(dz), (0,), False) if need_bias else None
    if dtype == bfloat16:  # as the kernels multiply it
        dz = widened(stored(dz, dtype))
    rows = _rows(dz)
    dx = product(rows, widened(weight)).reshape(x.shape) if need_x else None
    dweight = product(rows.T, _rows(widened(x))) if need_weight else None
    dresidual = (laid_as(dz.copy(), grad) if dz is grad else dz) if need_residual else None
    found = (optional(g, dtype) for g in (dx, dweight, dbias, dresidual))
    return next(found), next(found), next(found), next(found)
