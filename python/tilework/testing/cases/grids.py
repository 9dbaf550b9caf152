"""Cases of what lays tensors beside each other, turns and cuts them, and of products by indices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.inputs import LAYOUTS
from tilework.testing.rows import Row, fixed, floats, given, integers, one_of, rows
from tilework.testing.tolerance import eps, exact, growth

M, V, N = floats(3, 4), floats(4), floats(3)
ONE: dict[str, Any] = {"differentiable": (0,)}
BOTH: dict[str, Any] = {"differentiable": (0, 1)}
ONCE: dict[str, Any] = {"dtypes": ("float32",)}


def _beside() -> Iterator[Row]:
    for indexing, (at, axis) in itertools.product(("ij", "xy"), ((0, 0), (1, 1))):
        yield (
            f"meshgrid {indexing} {at}", given(N, V),
            one_of(lambda tw, F, a, b, i=indexing: tw.meshgrid(a, b, indexing=i), at),
            lambda a, b, i=indexing, at=at: np.meshgrid(a, b, indexing=i)[at],
            {"differentiable": (axis,)},
        )  # fmt: skip
    yield (
        "broadcast_tensors", given(floats(3, 1), V),
        one_of(lambda tw, F, a, b: tw.broadcast_tensors(a, b), 1),
        lambda a, b: np.broadcast_arrays(a, b)[1], {"differentiable": (1,)},
    )  # fmt: skip
    yield (
        "cartesian_prod", given(N, V), lambda tw, F, a, b: tw.cartesian_prod(a, b),
        lambda a, b: np.array(list(itertools.product(a, b))), BOTH,
    )  # fmt: skip
    for r, again in ((2, False), (3, True), (0, False)):
        choose = itertools.combinations_with_replacement if again else itertools.combinations
        yield (
            f"combinations of {r} {again}", given(V),
            lambda tw, F, x, r=r, again=again: tw.combinations(x, r, again),
            lambda x, r=r, c=choose: np.array(list(c(x, r)) if r else []),
            ONE if r else {},
        )  # fmt: skip
    for name, of in (("hstack", np.hstack), ("vstack", np.vstack), ("dstack", np.dstack),
                     ("column_stack", np.column_stack)):  # fmt: skip
        for shapes in (((3,), (3,)), ((3, 2), (3, 2)), ((2, 3, 1), (2, 3, 1))):
            yield (
                f"{name} {shapes[0]}", given(*(floats(*s) for s in shapes)),
                lambda tw, F, a, b, n=name: getattr(tw, n)([a, b]),
                lambda a, b, of=of: of([a, b]), BOTH,
            )  # fmt: skip

    def blocks(a: Array, v: Array) -> Array:
        out = np.zeros((4, 8))
        out[:3, :4], out[3:, 4:] = a, v
        return out

    yield "block_diag", given(M, V), lambda tw, F, a, v: tw.block_diag(a, v), blocks, BOTH


def _turned() -> Iterator[Row]:
    table: tuple[tuple[str, Any, Any], ...] = (
        ("roll", lambda tw, F, x: tw.roll(x, 5), lambda x: np.roll(x, 5)),
        ("roll two", lambda tw, F, x: x.roll((1, -2), (0, 1)),
         lambda x: np.roll(x, (1, -2), (0, 1))),
        ("fliplr", lambda tw, F, x: tw.fliplr(x), np.fliplr),
        ("flipud", lambda tw, F, x: x.flipud(), np.flipud),
        ("ravel", lambda tw, F, x: x.ravel(), np.ravel),
        ("select", lambda tw, F, x: x.select(1, -1), lambda x: x[:, -1]),
        ("diff", lambda tw, F, x: tw.diff(x), np.diff),
        ("diff twice", lambda tw, F, x: x.diff(2, 0), lambda x: np.diff(x, 2, 0)),
        ("diff with more", lambda tw, F, x: tw.diff(x, prepend=x, append=x),
         lambda x: np.diff(x, prepend=x, append=x)),
        ("tensor_split", one_of(lambda tw, F, x: x.tensor_split(3, 1), 0),
         lambda x: np.array_split(x, 3, 1)[0]),
        ("tensor_split at", one_of(lambda tw, F, x: tw.tensor_split(x, [1, -1]), 1),
         lambda x: np.split(x, [1, len(x) - 1])[1]),
        *((f"rot90 {k}", lambda tw, F, x, k=k: tw.rot90(x, k), lambda x, k=k: np.rot90(x, k))
          for k in range(-1, 4)),
        *((f"diagonal {k}", lambda tw, F, x, k=k: tw.diagonal(x, k),
           lambda x, k=k: np.diagonal(x, k)) for k in (-5, -2, 0, 1, 3)),
        ("diag", lambda tw, F, x: tw.diag(x, 1), lambda x: np.diag(x, 1)),
        ("diag of a vector", lambda tw, F, x: x[0].diag(-1), lambda x: np.diag(x[0], -1)),
        *((f"unfold by {step}", lambda tw, F, x, step=step: x.unfold(1, 2, step),
           lambda x, step=step: np.lib.stride_tricks.sliding_window_view(x, 2, 1)[:, ::step])
          for step in (1, 2, 3)),
        ("diag_embed", lambda tw, F, x: tw.diag_embed(x),
         lambda x: np.stack([np.diag(v) for v in x])),
        ("diag_embed in front", lambda tw, F, x: tw.diag_embed(x, 2, 0, 1),
         lambda x: np.stack([np.diag(v, 2) for v in x], -1)),
    )  # fmt: skip
    for label, call, of in table:
        for layout in ("contiguous", *LAYOUTS[1:]):
            if layout == "contiguous" or label.split()[0] in ("roll", "diagonal", "diff"):
                how = {"cancels": True} if "diff" in label else {"tolerance": exact}
                made = given(floats(3, 4, layout=layout))
                yield f"{label} {layout}", made, call, of, {**ONE, **how}
    yield (
        "diagonal of axes", given(floats(2, 3, 4)), lambda tw, F, x: x.diagonal(1, 2, 0),
        lambda x: np.diagonal(x, 1, 2, 0), ONE,
    )  # fmt: skip
    sparse = given(fixed(np.array([[0, 2, 0], [1, 0, 3]])))
    yield "argwhere", sparse, lambda tw, F, x: tw.argwhere(x), np.argwhere, ONCE
    for name, of in (("tril", np.tril_indices), ("triu", np.triu_indices)):
        for k in (-1, 0, 2):
            yield (
                f"{name}_indices {k}", given(fixed(k)),
                lambda tw, F, k, n=f"{name}_indices": getattr(tw, n)(3, 4, k),
                lambda k, of=of: np.stack(of(3, k, 4)), ONCE,
            )  # fmt: skip


# --- products: the bound is of their longest sum ---


def _summed(dtype: str, expected: Array, *inputs: Any) -> Array:
    arrays = [x[np.isfinite(x)] for x in inputs if isinstance(x, np.ndarray)]
    terms = max((x.size for x in arrays), default=1)
    size = float(np.prod([1.0 + np.abs(x).max(initial=0) for x in arrays]))
    return np.asarray(8.0 * growth(terms) * eps(dtype) * terms * size)


EQUATIONS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    ("ij,jk->ik", ((3, 4), (4, 5))), ("ij,jk", ((3, 4), (4, 5))),
    ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
    ("i,i->", ((4,), (4,))), ("i,j->ij", ((3,), (4,))), ("ii->i", ((3, 3),)), ("ii", ((3, 3),)),
    ("ij->ji", ((3, 4),)), ("ij->", ((3, 4),)), ("ij->j", ((3, 4),)),
    ("ij,ij->ij", ((3, 4), (3, 4))),
    ("...ij,...jk->...ik", ((2, 3, 4), (4, 5))), ("bhqd,bhkd->bhqk", ((2, 2, 3, 4), (2, 2, 5, 4))),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))), ("bi,ij,bj->b", ((2, 3), (3, 4), (2, 4))),
    ("ijk,j->ik", ((2, 3, 4), (3,))), ("a...,b->b...", ((2, 3), (4,))),
)  # fmt: skip


def _products() -> Iterator[Row]:
    for equation, shapes in EQUATIONS:
        yield (
            f"einsum {equation}", given(*(floats(*s) for s in shapes)),
            lambda tw, F, *x, e=equation: tw.einsum(e, *x),
            lambda *x, e=equation: np.einsum(e, *x),
            {"differentiable": tuple(range(len(shapes))), "cancels": True},
        )  # fmt: skip
    yield (
        "einsum of lists", given(M, floats(4, 2)),
        lambda tw, F, a, b: tw.einsum(a, [0, 1], b, [1, 2], [2, 0]),
        lambda a, b: (a @ b).T, BOTH,
    )  # fmt: skip
    yield "dot", given(V, V), lambda tw, F, a, b: tw.dot(a, b), np.dot, BOTH
    yield "mv", given(M, V), lambda tw, F, a, b: a.mv(b), np.matmul, BOTH
    for dims in (0, 1, 2, ([0, 2], [1, 0])):
        shapes = ((4, 2, 3), (3, 4, 2)) if isinstance(dims, tuple) else ((2, 3, 4), (3, 4, 2))
        shapes = ((2, 3), (4, 5)) if dims == 0 else shapes
        shapes = ((2, 3), (3, 5)) if dims == 1 else shapes
        yield (
            f"tensordot {dims}", given(*(floats(*s) for s in shapes)),
            lambda tw, F, a, b, d=dims: tw.tensordot(a, b, dims=d),
            lambda a, b, d=dims: np.tensordot(a, b, d), {**BOTH, "cancels": True},
        )  # fmt: skip
    three = {"differentiable": (0, 1, 2), "cancels": True}
    for name, shapes in (("addmm", ((5,), (3, 4), (4, 5))), ("addmv", ((3,), (3, 4), (4,))),
                         ("baddbmm", ((3, 5), (2, 3, 4), (2, 4, 5)))):  # fmt: skip
        for beta, alpha in ((1, 1), (0.5, -2)):
            yield (
                f"{name} {beta} {alpha}", given(*(floats(*s) for s in shapes)),
                lambda tw, F, x, a, b, n=name, u=beta, v=alpha: getattr(tw, n)(
                    x, a, b, beta=u, alpha=v
                ),
                lambda x, a, b, u=beta, v=alpha: u * x + v * (a @ b), three,
            )  # fmt: skip
    yield (
        "addmm of NaN by 0", given(lambda rng, t: np.full((3, 2), np.nan, t), M, floats(4, 2)),
        lambda tw, F, x, a, b: x.addmm(a, b, beta=0), lambda x, a, b: a @ b,
        {"differentiable": (1, 2)},
    )  # fmt: skip
    yield (
        "einsum of integers", given(integers(-5, 5, 3, 4), integers(-5, 5, 4, 2)),
        lambda tw, F, a, b: tw.einsum("ij,jk->ik", a, b), np.matmul, ONCE,
    )  # fmt: skip
    yield (
        "trapezoid", given(M), lambda tw, F, y: tw.trapezoid(y, dx=0.5),
        lambda y: (y[:, 1:] + y[:, :-1]).sum(1) * 0.25, ONE,
    )  # fmt: skip
    yield (
        "trapezoid between places", given(M, V), lambda tw, F, y, x: tw.trapezoid(y, x),
        lambda y, x: ((y[:, 1:] + y[:, :-1]) * np.diff(x)).sum(1) / 2, BOTH,
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *rows("grids", _beside()),
    *rows("grids", _turned(), tolerance=_summed),
    *rows("grids", _products(), tolerance=_summed),
)
