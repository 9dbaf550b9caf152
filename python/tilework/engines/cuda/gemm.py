"""Matrix products, and the linear layer's fused calls.

A product is told by sizes and steps (`Product`): whatever way its operands lie, none is copied. The
plan depends on shape, dtype, layout and precision alone, not on the card, so that results do not
either: blocks of 128 x 128 where those fill a card, else of 64 x 64, which split K among them where
C is small and K long (the splits' sums are added in their order by a second kernel).

float32 by the word of set_float32_matmul_precision, as PyTorch has it on CUDA: "highest" on CUDA
cores in float32; "high" on tensor cores in tf32 (ten bits of each factor, which is less than
the CPU's three bfloat16 products keep); "medium" on tensor cores with factors rounded to bfloat16
(seven bits). All sums are float32. float64 runs on CUDA cores, bfloat16 on tensor cores, rounded
once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tilework import config
from tilework.arrays import address, broadcast_shapes, namespace
from tilework.dtypes import bfloat16, float32, float64
from tilework.engines import cupy
from tilework.engines.cuda import gemm_variants
from tilework.engines.cuda.gemm_variants import set_gemm_variant
from tilework.engines.cuda.launch import blocks_for, contiguous, empty, empty_as, launch
from tilework.engines.cupy.base import stored, widened
from tilework.engines.cupy.gemm import PackedWeight

__all__ = ["linear_backward", "linear_forward", "matmul", "set_gemm_variant"]

Array = Any
FILLING = 128  # blocks that are enough to fill a card: about as many as one has multiprocessors
SHORTEST_SPLIT = 256  # along K
FEW = 4  # rows or columns of C, for which there are kernels of their own (gemm_narrow.cuh)
SHORTEST_SLAB, MOST_SLABS = 256, 512  # of rows that a bias's gradient sums
_SIDES = {"large": (128, 256), "small": (64, 128)}  # a block's rows and columns, its threads
_KINDS = {"float64": "double", "bfloat16": "bf16"}
_PRECISIONS = {"highest": "float", "high": "tf32_float", "medium": "bf16_float"}
# A stage's tile across K is larger by these bytes, of 16 rows, on tensor cores (gemm_tiles.cuh).
_SKEWS = {"tf32_float": 16 * 8 * 4, "bf16_float": 16 * 4 * 4}
_ACTIVATIONS = ("none", "relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu")  # activations.cuh
_ACCUMULATE, _WIDE, _A_CHUNKS, _B_CHUNKS, _C_ALIGNED = (0x100 << i for i in range(5))


@dataclass(frozen=True)
class Side:
    """One operand: where it starts, and its steps in elements."""

    at: int
    outer: int  # along M of A, along N of B
    k: int
    batch: tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """C (M, N) = A (M, K) @ B (K, N) at each index of the batch axes; C's columns adjoin."""

    dtype: Any
    m: int
    n: int
    k: int
    a: Side
    b: Side
    c: int
    c_row: int
    c_batch: tuple[int, ...]
    batch: tuple[int, ...]
    wide: bool = False  # C is float32 beside bfloat16 operands


@dataclass(frozen=True, eq=False)
class Fused:
    """What becomes of the sums before they are stored."""

    bias: Array | None = None
    residual: Array | None = None  # its rows dense
    before: Array | None = None  # where the sums go that the activation is of
    activation: str = "none"
    accumulate: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing does."""
        given = (self.bias, self.residual, self.before)
        return self.activation == "none" and all(x is None for x in given)


_PLAIN = Fused()


def _steps(x: Array, *shape: int) -> tuple[int, ...]:
    """x's steps in elements, leading axes broadcast to `shape`."""
    own = [s // x.itemsize if n != 1 else 0 for s, n in zip(x.strides, x.shape, strict=True)]
    return (*((0,) * (len(shape) - x.ndim)), *own)


def product_of(a: Array, b: Array, c: Array) -> Product:
    """The product of arrays; c's columns or its rows are neighbours."""
    batch = tuple(c.shape[:-2])
    full = (*batch, 1, 1)
    sa, sb, sc = _steps(a, *full), _steps(b, *full), _steps(c, *full)
    m, k, n = c.shape[-2], a.shape[-1], c.shape[-1]
    left = Side(address(a), sa[-2], sa[-1], sa[:-2])
    right = Side(address(b), sb[-1], sb[-2], sb[:-2])
    row, column = sc[-2:]
    if n > 1 and column != 1:  # C^T = B^T A^T
        left, right, m, n, row = right, left, n, m, column
    made = Product(
        a.dtype, m, n, k, left, right, address(c), row, sc[:-2], batch, c.dtype != a.dtype
    )
    return _merged(made)


def _merged(p: Product) -> Product:
    """With as few batch axes as its steps allow; those of A alone that go on with its rows are
    rows."""
    axes: list[tuple[int, int, int, int]] = []  # size, and the steps of A, B and C
    for size, *steps in zip(p.batch, p.a.batch, p.b.batch, p.c_batch, strict=True):
        if size == 1:
            continue
        if axes and all(
            outer == size * inner for outer, inner in zip(axes[-1][1:], steps, strict=True)
        ):
            size *= axes.pop()[0]
        axes.append((size, *steps))  # type: ignore[arg-type]
    m, a_row, c_row = p.m, p.a.outer, p.c_row
    while axes:
        size, sa, sb, sc = axes[-1]
        if sb or (m != 1 and (sa != m * a_row or sc != m * c_row)):
            break
        if m == 1:
            a_row, c_row = sa, sc
        m *= size
        axes.pop()
    sizes, sa_, sb_, sc_ = zip(*axes, strict=True) if axes else ((), (), (), ())
    return replace(
        p, m=m, a=Side(p.a.at, a_row, p.a.k, sa_), b=replace(p.b, batch=sb_), c_row=c_row,
        c_batch=sc_, batch=sizes,
    )  # fmt: skip


# --- The plan ---


@dataclass(frozen=True)
class Plan:
    """How a product is cut: the kernels, blocks in all, and what each block takes of K."""

    kernels: str  # "large", "small", "dots" or "sweep"
    blocks: int
    splits: int
    split_depth: int


def plan(m: int, n: int, k: int, batches: int, dtype: Any, narrow: str = "") -> Plan:
    """By shape alone. `narrow`: which kernel takes products of few rows or columns as these lie."""
    if narrow:
        if narrow == "dots":
            blocks = blocks_for(blocks_for(m, FEW) * blocks_for(n, FEW), 8)
        else:
            blocks = blocks_for(n, 32 * 16 // dtype.itemsize)
        return Plan(narrow, blocks * batches, *_splits(blocks * batches, k))
    large, small = (blocks_for(m, side) * blocks_for(n, side) * batches for side in (128, 64))
    if large >= FILLING and dtype != float64:
        return Plan("large", large, 1, k)
    return Plan("small", small, *_splits(small, k))


def _splits(blocks: int, k: int) -> tuple[int, int]:
    """Into how many parts K is cut, and how deep they are."""
    splits = max(1, min(2 * FILLING // max(blocks, 1), k // SHORTEST_SPLIT))
    if splits == 1:
        return 1, k
    depth = -(-blocks_for(k, splits) // 32) * 32  # a multiple of every tile's depth
    return blocks_for(k, depth), depth


def _narrow(p: Product, a_order: tuple[bool, bool], b_order: tuple[bool, bool]) -> str:
    """The kernel for few rows or columns that reads such operands, if there is one."""
    along, across = (True, True), (False, True)  # chunks along K, or across
    if a_order == b_order == along and min(p.m, p.n) <= FEW:
        return "dots"
    return "sweep" if b_order == across and p.m <= FEW else ""


def _as_row(p: Product, fused: Fused) -> Product:
    """A product whose C is a column, as one whose C is a row: there is a kernel that reads A across
    K for those."""
    if p.n != 1 or p.m == 1 or p.c_row != 1 or not fused.plain:
        return p
    return replace(p, m=1, n=p.m, a=p.b, b=p.a)


def _order(side: Side, outers: int, k: int, itemsize: int) -> tuple[bool, bool]:
    """Whether a side lies along K, and whether it is made of aligned chunks of 16 bytes."""
    wide = 16 // itemsize
    aligned = side.at % 16 == 0 and not any(step % wide for step in side.batch)
    k_runs, outer_runs = side.k == 1 or k == 1, side.outer == 1 or outers == 1
    if aligned and k_runs and (outers == 1 or side.outer % wide == 0):
        return True, True
    if aligned and outer_runs and (k == 1 or side.k % wide == 0):
        return False, True
    return (k_runs if k_runs != outer_runs else abs(side.k) <= abs(side.outer)), False


def run(p: Product, fused: Fused, like: Array) -> None:
    """Launches the kernels of a product. `like` tells where scratch memory is to be."""
    for outer in itertools.product(*map(range, p.batch[:-2])):
        _run_two_axes(_at(p, outer), fused, like)


def _at(p: Product, index: tuple[int, ...]) -> Product:
    """The product at an index of its first batch axes: two more are a kernel's own."""
    count, size = len(index), p.dtype.itemsize

    def moved(at: int, steps: tuple[int, ...], itemsize: int) -> int:
        return at + itemsize * sum(i * s for i, s in zip(index, steps, strict=False))

    return replace(
        p,
        a=replace(p.a, at=moved(p.a.at, p.a.batch, size), batch=p.a.batch[count:]),
        b=replace(p.b, at=moved(p.b.at, p.b.batch, size), batch=p.b.batch[count:]),
        c=moved(p.c, p.c_batch, 4 if p.wide else size),
        c_batch=p.c_batch[count:],
        batch=p.batch[count:],
    )


def _two(steps: tuple[int, ...], fill: int = 0) -> tuple[int, int]:
    outer, inner = (fill, fill, *steps)[-2:]
    return outer, inner


def _run_two_axes(p: Product, fused: Fused, like: Array) -> None:
    """A product of at most two batch axes: one launch, or two where it is split."""
    outer, inner = _two(p.batch, 1)
    batches = outer * inner
    if not p.m or not p.n or not batches:
        return
    p = _as_row(p, fused)
    itemsize = p.dtype.itemsize
    orders = _order(p.a, p.m, p.k, itemsize), _order(p.b, p.n, p.k, itemsize)
    (a_runs_k, a_chunks), (b_runs_k, b_chunks) = orders
    how = plan(p.m, p.n, p.k, batches, p.dtype, _narrow(p, *orders))
    flags = (
        finish_flags(fused, p.n, p.c, p.c_row, p.c_batch, itemsize, p.wide)
        | a_chunks * _A_CHUNKS
        | b_chunks * _B_CHUNKS
    )
    sums = float64 if p.dtype == float64 else float32
    partial = empty(like, (batches, how.splits, p.m, p.n), sums) if how.splits > 1 else None
    kind = _KINDS.get(p.dtype.name, "float")
    if how.kernels in _SIDES:
        if kind == "float":
            kind = _PRECISIONS[config.get_float32_matmul_precision()]
        side, threads = _SIDES[how.kernels]
        name = f"{how.kernels}_{'k' if a_runs_k else 'm'}{'k' if b_runs_k else 'n'}"
        shared = 3 * (2 * side * 64 + (2 - a_runs_k - b_runs_k) * _SKEWS.get(kind, 0)) + 32
        threads = 256 if p.dtype == float64 else threads
    else:
        name, threads, shared = how.kernels, 256, 0
    residual_row = 0 if fused.residual is None else fused.residual.shape[-1]
    launch(
        f"gemm_{name}_{kind}", (how.blocks, how.splits), threads,
        p.c, p.a.at, p.b.at, fused.bias, fused.residual, fused.before, partial,
        p.m, p.n, p.k, p.a.outer, p.a.k, p.b.k, p.b.outer, p.c_row, residual_row, inner,
        *_two(p.a.batch), *_two(p.b.batch), *_two(p.c_batch), how.split_depth, flags, shared=shared,
    )  # fmt: skip
    if partial is not None:
        _join(
            p.dtype, p.c, fused, partial, how.splits, batches, p.m, p.n, p.c_row, residual_row,
            inner, *_two(p.c_batch), flags,
        )  # fmt: skip


def _join(
    dtype: Any, c: Any, fused: Fused, partial: Array, splits: int, batches: int, m: int, n: int,
    *rest: int,
) -> None:  # fmt: skip
    kind = _KINDS.get(dtype.name, "float")
    groups = blocks_for(n, 2 if dtype == float64 else 4)
    launch(
        f"gemm_join_{kind}", blocks_for(batches * m * groups, 256), 256,
        c, fused.bias, fused.residual, fused.before, partial, splits, batches, m, n, *rest,
    )  # fmt: skip


def finish_flags(
    fused: Fused, n: int, c: int, c_row: int, c_batch: tuple[int, ...], itemsize: int, wide: bool
) -> int:
    """The activation, and how the finished elements are stored."""
    group = 2 if itemsize == 8 else 4  # elements that one thread stores at once
    beside = (x for x in (fused.bias, fused.residual, fused.before) if x is not None)
    starts = [c // (4 if wide else itemsize), *(address(x) // itemsize for x in beside)]
    starts += [c_row, 0 if fused.residual is None else n, *c_batch]
    aligned = all(start % group == 0 for start in starts)
    return (
        _ACTIVATIONS.index(fused.activation)
        | fused.accumulate * _ACCUMULATE
        | wide * _WIDE
        | aligned * _C_ALIGNED
    )


# --- The contract ---


def _element_steps(x: Array) -> Array:
    """`x`, or a copy where its strides are no whole elements."""
    return contiguous(x) if any(s % x.itemsize for s in x.strides) else x


def matmul(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Array:
    if a.dtype not in (float32, float64, bfloat16):
        return cupy.matmul(a, b, out, accumulate)
    a, b = _element_steps(a), _element_steps(b)
    shape = (*broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if out is None or not _takes(out, a, b):
        # The sum with what is there is rounded once, by the copy.
        wide = out is not None and (accumulate or out.dtype == float32) and a.dtype == bfloat16
        c = empty(a, shape, float32 if wide else a.dtype)
        _multiply(a, b, c, _PLAIN)
        if out is None:
            return c
        out[...] = stored(widened(out) + c if accumulate else c, out.dtype)
        return out
    _multiply(a, b, out, Fused(accumulate=accumulate))
    return out


def _takes(out: Array, a: Array, b: Array) -> bool:
    """Whether a kernel may write there: no element twice, rows or columns neighbours, no operand
    under it."""
    steps = [s for s, n in zip(out.strides, out.shape, strict=True) if n > 1]
    if 0 in steps or any(s % out.itemsize for s in steps):
        return False
    runs = any(out.shape[i] <= 1 or out.strides[i] == out.itemsize for i in (-1, -2))
    share = namespace(out).may_share_memory
    return runs and not bool(share(out, a)) and not bool(share(out, b))


def _multiply(a: Array, b: Array, c: Array, fused: Fused) -> None:
    product = product_of(a, b, c)
    ways = {
        "kernel": lambda: run(product, fused, c),
        "cublas": lambda: _by_cublas(a, b, c, fused),
    }
    ways[_variant(product, fused, ways)]()


def _variant(p: Product, fused: Fused, ways: dict[str, Callable[[], None]]) -> str:
    """Who computes a product; where it adds to what is there, a trial would do so too."""
    exact = p.dtype == float64 or (
        p.dtype == float32 and config.get_float32_matmul_precision() == "highest"
    )
    if not exact or fused.accumulate or not p.k:
        return "kernel"
    size = p.dtype.itemsize
    orders = _order(p.a, p.m, p.k, size), _order(p.b, p.n, p.k, size)
    work = p.m * p.n * p.k * math.prod(p.batch)
    key = (p.dtype.name, p.batch, p.m, p.n, p.k, *orders, fused.plain)
    return gemm_variants.chosen(key, work, ways)


def _by_cublas(a: Array, b: Array, c: Array, fused: Fused) -> None:
    """The array library's product, and what is fused to it by the kernel that joins splits: of
    one. (Products with that have their rows in C order.)"""
    namespace(c).matmul(a, b, out=c)
    if fused.plain:
        return
    m, n = c.shape
    flags = finish_flags(fused, n, address(c), n, (), c.itemsize, False)
    _join(c.dtype, c, fused, c, 1, 1, m, n, n, n, 1, 0, 0, flags)


def _rows(x: Array) -> Array:
    """(..., C) as a matrix: a view where the leading axes are one run of rows."""
    shape = (math.prod(x.shape[:-1]), x.shape[-1])
    return x if x.ndim == 2 else contiguous(x).reshape(shape) if _gaps(x) else x.reshape(shape)


def _gaps(x: Array) -> bool:
    kept = [(s, n) for s, n in zip(x.strides[:-1], x.shape[:-1], strict=True) if n != 1]
    return any(s != n * t for (s, _), (t, n) in itertools.pairwise(kept))


def linear_forward(
    x: Array, weight: Array, bias: Array | None, residual: Array | None, activation: str,
    save: bool, packed: PackedWeight | None = None,
) -> tuple[Array, Array | None]:  # fmt: skip
    rows, n = _rows(_element_steps(x)), weight.shape[0]
    shape = (*x.shape[:-1], n)
    y = empty(x, shape)
    before = empty(x, shape) if save and activation in ("gelu", "gelu_tanh", "silu") else None
    fused = Fused(
        None if bias is None else contiguous(bias),
        None if residual is None else contiguous(residual),
        before,
        activation,
    )
    c = y.reshape(rows.shape[0], n)
    _multiply(rows, _element_steps(weight).swapaxes(0, 1), c, fused)
    if not save or activation == "none":
        return y, None
    return y, y if before is None else before


def linear_backward(
    grad: Array, x: Array, weight: Array, saved: Array | None, activation: str, need_x: bool,
    need_weight: bool, need_bias: bool, need_residual: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:  # fmt: skip
    dz, dbias = grad, None
    if need_bias or saved is not None:
        dz, dbias = _slope(grad, saved, activation, need_bias)
    rows = _rows(_element_steps(dz))
    dx = dweight = None
    if need_x:
        dx = empty(x, x.shape)
        _multiply(rows, _element_steps(weight), dx.reshape(rows.shape[0], x.shape[-1]), _PLAIN)
    if need_weight:
        dweight = empty_as(weight)
        _multiply(rows.swapaxes(0, 1), _rows(_element_steps(x)), dweight, _PLAIN)
    return dx, dweight, dbias, dz if need_residual else None


def _slope(
    grad: Array, saved: Array | None, activation: str, need_bias: bool
) -> tuple[Array, Array | None]:
    """The gradient before the activation, and its sum over the rows."""
    grad = contiguous(grad)
    saved = None if saved is None else contiguous(saved)
    n = grad.shape[-1]
    rows = math.prod(grad.shape[:-1])
    dz = grad if saved is None else empty(grad, grad.shape)
    group = 16 // max(4, grad.itemsize)
    starts = [address(a) // grad.itemsize for a in (dz, grad, saved) if a is not None]
    aligned = all(start % group == 0 for start in (*starts, n))
    flags = _ACTIVATIONS.index(activation) | aligned * _C_ALIGNED
    slab = max(SHORTEST_SLAB, blocks_for(rows, MOST_SLABS))
    slabs = max(1, blocks_for(rows, slab))
    sums = float64 if grad.dtype == float64 else float32
    partial = empty(grad, (1, slabs, 1, n), sums) if need_bias else None
    launch(
        f"linear_slope_{_KINDS.get(grad.dtype.name, 'float')}",
        (blocks_for(n, 32 * group), slabs), 256,
        None if saved is None else dz, partial, grad, saved, rows, n, slab, flags,
    )  # fmt: skip
    if partial is None:
        return dz, None
    dbias = empty(grad, (n,))
    _join(grad.dtype, dbias, _PLAIN, partial, slabs, 1, 1, n, n, 0, 1, 0, 0, 0)
    return dz, dbias
