"""Lengths of vectors and what is made of them: norms, distances, cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework.arrays import as_array, broadcast_shapes, errstate, may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.dtypes import check as checked
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.cast import cast, widening
from tilework.functional.common import Dim, axes, axis, need_float, number, numpy_names, operand
from tilework.functional.gemm import matmul
from tilework.functional.lowering import in_full
from tilework.functional.masks import raised
from tilework.functional.pointwise import without_zeros, zero_where
from tilework.functional.reduce import with_axes
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


# --- norms ---


def _length(x: Array, p: float, over: tuple[int, ...]) -> Array:
    """The norm of order p along axes that are kept."""
    xp = namespace(x)
    if p == 2.0:
        return ops.unary_forward("sqrt", ops.sum(ops.unary_forward("square", x), over, True))
    if p == 0.0:
        return as_array((x != 0).sum(axis=over, keepdims=True), x.dtype)
    size = ops.unary_forward("abs", x)
    if math.isinf(p):
        return (ops.max if p > 0 else ops.min)(size, over, True) if over else size
    if p == 1.0:
        return ops.sum(size, over, True)
    with errstate(all="ignore"):
        total = ops.sum(ops.binary_forward("pow", size, p), over, True)
        return as_array(xp.power(total, 1.0 / p), x.dtype)


def _norm_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """The slope of a norm: x by its own size to the power p - 1, over the norm to that power; 0
    along a vector of zeros."""
    x = inputs[0]
    p, over, value = saved
    grad = grad.reshape(with_axes(x.shape, over))
    if p == 0.0:
        return (fresh(namespace(x._array).zeros_like(x._array)),)
    if p == 1.0:
        return (grad * x.detach().sign(),)
    n = _norm(x, p, over) if mode.enabled else fresh(value)
    safe, flat = without_zeros(n)
    if p == 2.0:
        return (_at_infinity(x * zero_where(grad / safe, flat), x, n, over, grad),)
    if math.isinf(p):
        found = x._array
        won = (abs(found) == n._array) & (found != 0)
        shares = won.sum(axis=over, keepdims=True).clip(1)
        share = as_array(won * namespace(found).sign(found) / shares, x.dtype)
        return (grad * fresh(share),)
    size, zeros = without_zeros(x.abs())
    slope = x.detach().sign() * size ** (p - 1.0)
    slope = zero_where(slope, zeros) * zero_where(grad / safe ** (p - 1.0), flat)
    return (_at_infinity(slope, x, n, over, grad),)


def _at_infinity(
    slope: Tensor, x: Tensor, n: Tensor, over: tuple[int, ...], grad: Tensor
) -> Tensor:
    """The slope of a norm, and of an infinite element beside finite ones its sign."""
    if not may_hold(n._array == math.inf):
        return slope
    size = abs(x._array)
    others = (~(size < math.inf)).sum(axis=over, keepdims=True) == 1
    result: Tensor = (grad * x.detach().sign()).where(
        fresh(as_array((size == math.inf) & others)), slope
    )
    return result


_NORM = Op("norm", differentiable=_norm_recorded)


def _norm(x: Tensor, p: float, over: tuple[int, ...]) -> Tensor:
    value = _length(x._array, p, over)
    y = fresh(value)
    if mode.enabled and x._requires_grad:
        record(y, _NORM, (x,), (p, over, value), (x._storage, y._storage))
    return y


@widening
def norm_along(op: str, x: Tensor, p: float, dim: Dim, keepdim: bool) -> Tensor:
    """The norm of order p of the vectors along `dim`."""
    need_float(op, x)
    over = axes(op, dim, x.ndim)
    if math.isinf(p) and 0 in [x.shape[i] for i in over]:
        raise error(
            ValueError, op, "vectors with elements", x.shape, "nothing has no largest element"
        )
    y = _norm(x, p, over)
    return y if keepdim else y.reshape([n for i, n in enumerate(x.shape) if i not in over])


@tensor_method()
@numpy_names
def norm(
    input: Tensor, p: Any = "fro", dim: Dim = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The norm of order `p` of the vectors along `dim`, or of all elements: 2 where it is "fro",
    any number, or infinity for the largest size.

    `dtype` converts before. TypeError on integers, ValueError on another word. The gradient of a
    vector of zeros is 0.

    >>> tw.norm(tw.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = operand(input, "norm")
    if dtype is not None:
        x = cast(x, checked(dtype, "norm"))
    if p is None or (isinstance(p, str) and p == "fro"):
        p = 2.0
    if isinstance(p, str):
        raise error(ValueError, "norm", 'p of "fro" or a number', word(p), "give a number")
    return norm_along("norm", x, float(number("norm", "p", p)), dim, keepdim)


@tensor_method()
def dist(input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """The norm of order `p` of input - other, over all elements.

    >>> tw.dist(tw.tensor([3.0, 4.0]), tw.zeros(2))
    tensor(5.)
    """
    away = operand(input, "dist") - operand(other, "dist", "other")
    return norm_along("dist", away, float(number("dist", "p", p)), None, False)


@widening
def normalize(input: Tensor, p: float = 2.0, dim: Dim = 1, eps: float = 1e-12) -> Tensor:
    """input over its norm of order `p` along `dim`, which counts as `eps` at least.

    >>> F.normalize(tw.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    x = operand(input, "normalize")
    length = norm_along("normalize", x, float(number("normalize", "p", p)), dim, True)
    result: Tensor = x / length.clamp(eps)
    return result


# --- distances ---


@widening
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The norm of order `p` of x1 - x2 + eps along the last axis; shapes broadcast.

    >>> F.pairwise_distance(tw.tensor([[3.0, 4.0]]), tw.zeros(1, 2), eps=0.0)
    tensor([5.])
    """
    op = "pairwise_distance"
    away = operand(x1, op, "x1") - operand(x2, op, "x2") + eps
    return norm_along(op, away, float(number(op, "p", p)), -1, keepdim)


@widening
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between x1 and x2 along `dim`; their lengths count as `eps` at least.

    Shapes broadcast. TypeError on integers.

    >>> F.cosine_similarity(tw.tensor([[1.0, 1.0]]), tw.tensor([[1.0, 0.0]]))
    tensor([0.7071])
    """
    op = "cosine_similarity"
    a, b = operand(x1, op, "x1"), operand(x2, op, "x2")
    need_float(op, a, "x1")
    need_float(op, b, "x2")
    if a.shape != b.shape:
        a, b = a + b * 0, b + a * 0
    at = axis(op, dim, a.ndim)
    directions = [x / raised(norm_along(op, x, 2.0, at, True), eps) for x in (a, b)]
    result: Tensor = (directions[0] * directions[1]).sum(at)
    return result


# --- all distances between two sets ---

_BY_PRODUCTS = 25  # more rows than these on a side are told apart by a product, as in PyTorch
_MODES = (
    "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)  # fmt: skip


def _cdist_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """Of Euclid's: each pair pulls along the difference over its length, by two products."""
    a, b = inputs
    d = _euclid(a, b) if mode.enabled else fresh(saved)
    safe, flat = without_zeros(d)
    pull = zero_where(grad / safe, flat)
    da = db = None
    if a._requires_grad:
        da = a * pull.sum(-1, keepdim=True) - matmul(pull, b)
    if b._requires_grad:
        db = b * pull.sum(-2).unsqueeze(-1) - matmul(pull.transpose(-1, -2), a)
    return da, db


_CDIST = Op("cdist", differentiable=_cdist_recorded)


def _euclid(a: Tensor, b: Tensor) -> Tensor:
    """|a|^2 + |b|^2 - 2 a b, and its root."""
    with_out_grad = a.detach(), b.detach()
    squares = [(x * x).sum(-1) for x in with_out_grad]
    cross = matmul(with_out_grad[0] * -2.0, with_out_grad[1].transpose(-1, -2))
    d = (squares[0].unsqueeze(-1) + squares[1].unsqueeze(-2) + cross).clamp(0).sqrt()
    if mode.enabled and (a._requires_grad or b._requires_grad):
        record(d, _CDIST, (a, b), d._array, (a._storage, b._storage, d._storage))
    return d


@in_full
@widening
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = _MODES[0]) -> Tensor:
    """The distance of order `p` between each row of x1 (..., P, M) and each of x2 (..., R, M):
    (..., P, R); leading axes broadcast.

    `compute_mode` as in PyTorch: by default distances of order 2 go by a matrix product where P or
    R is above 25, which is fast and gives few digits of a distance that is small beside the
    vectors; "donot_use_mm_for_euclid_dist" takes differences. ValueError where shapes disagree.

    >>> tw.cdist(tw.tensor([[0.0, 0.0]]), tw.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    a, b = operand(x1, "cdist", "x1"), operand(x2, "cdist", "x2")
    need_float("cdist", a, "x1")
    need_float("cdist", b, "x2")
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1] or not p >= 0:
        raise error(
            ValueError, "cdist", "rows (..., P, M) and (..., R, M), and p from 0",
            f"{a.shape}, {b.shape} and p={p}", "reshape them",
        )  # fmt: skip
    if compute_mode not in _MODES:
        raise error(ValueError, "cdist", f"a mode among {_MODES}", word(compute_mode), "name one")
    rows = max(a.shape[-2], b.shape[-2])
    if p == 2 and compute_mode != _MODES[2] and (
        compute_mode == _MODES[1] or rows > _BY_PRODUCTS
    ):  # fmt: skip
        shape = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return _euclid(a.expand(*shape, *a.shape[-2:]), b.expand(*shape, *b.shape[-2:]))
    return norm_along("cdist", a.unsqueeze(-2) - b.unsqueeze(-3), float(p), -1, False)
