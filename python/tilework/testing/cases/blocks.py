"""Cases of the layers that are rarer: products of two inputs, shuffles, held parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.rows import Row, floats, given, rows
from tilework.testing.tolerance import eps, growth


def _product(a: Array, b: Array, w: Array, bias: Any = 0.0) -> Array:
    return np.asarray(np.einsum("...m,kmn,...n->...k", a, w, b) + bias)


def _bound(dtype: str, expected: Array, *inputs: Array) -> Array:
    """Sums of products of three numbers of order one."""
    terms = 1 + inputs[0].shape[-1] * inputs[1].shape[-1]
    return np.asarray(16.0 * growth(terms) * eps(dtype) * (terms + np.abs(expected)))


def _bilinear() -> Iterator[Row]:
    weights = (floats(4, 3, 5), floats(4))
    for lead in ((6,), (2, 3), ()):
        made = given(floats(*lead, 3), floats(*lead, 5), *weights)
        yield (
            f"bilinear {lead}", made, lambda tw, F, a, b, w, c: F.bilinear(a, b, w, c), _product,
            {"differentiable": (0, 1, 2, 3)},
        )  # fmt: skip
    yield (
        "bilinear without bias", given(floats(6, 3), floats(6, 5), weights[0]),
        lambda tw, F, a, b, w: F.bilinear(a, b, w), _product, {"differentiable": (0, 1, 2)},
    )  # fmt: skip

    def layer(tw: Any, F: Any, a: Any, b: Any, w: Any, c: Any) -> Any:
        made = tw.nn.Bilinear(3, 5, 4, dtype=a.dtype)
        made.weight.data, made.bias.data = w, c
        return made(a, b)

    made = given(floats(6, 3), floats(6, 5), *weights)
    yield "Bilinear", made, layer, _product, {"differentiable": (0, 1)}


def _shuffled(x: Array, groups: int) -> Array:
    n, c, *rest = x.shape
    return x.reshape(n, groups, c // groups, *rest).swapaxes(1, 2).reshape(x.shape)


def _moves() -> Iterator[Row]:
    one = {"differentiable": (0,)}
    for shape, groups in (((2, 6, 3, 4), 3), ((1, 4, 5), 2), ((2, 4, 2, 2, 2), 1)):
        yield (
            f"channel_shuffle {shape}", given(floats(*shape)),
            lambda tw, F, x, g=groups: F.channel_shuffle(x, g),
            lambda x, g=groups: _shuffled(x, g), {**one, "peer": None},
        )  # fmt: skip
    image = given(floats(2, 6, 3, 4))
    yield (
        "ChannelShuffle", image, lambda tw, F, x: tw.nn.ChannelShuffle(2)(x),
        lambda x: _shuffled(x, 2), {**one, "peer": None},
    )  # fmt: skip
    yield (
        "UpsamplingNearest2d", image,
        lambda tw, F, x: tw.nn.UpsamplingNearest2d(scale_factor=2)(x),
        lambda x: x.repeat(2, 2).repeat(2, 3), one,
    )  # fmt: skip
    yield (
        "UpsamplingBilinear2d", given(lambda rng, t: np.array([[[[0.0, 1.0], [2.0, 3.0]]]], t)),
        lambda tw, F, x: tw.nn.UpsamplingBilinear2d((3, 3))(x),
        lambda x: np.array([[[[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]]]),
    )  # fmt: skip


def _held() -> Iterator[Row]:
    def in_list(tw: Any, F: Any, x: Any, a: Any, b: Any) -> Any:
        held = tw.nn.ParameterList([a.detach(), tw.nn.Parameter(b.detach())])
        return x * held[0] + sum(p for p in held[1:])

    def in_dict(tw: Any, F: Any, x: Any, a: Any, b: Any) -> Any:
        held = tw.nn.ParameterDict({"a": tw.nn.Parameter(a.detach())})
        held["b"] = tw.nn.Parameter(b.detach())
        return x * held["a"] + sum(p for name, p in held.items() if name == "b")

    made = given(floats(3, 4), floats(4), floats(4))
    one = {"differentiable": (0,), "tolerance": _sum_bound}
    yield "ParameterList", made, in_list, lambda x, a, b: x * a + b, one
    yield "ParameterDict", made, in_dict, lambda x, a, b: x * a + b, one


def _sum_bound(dtype: str, expected: Array, x: Array, a: Array, b: Array) -> Array:
    return np.asarray(2.0 * eps(dtype) * (np.abs(x * a) + np.abs(b)))


CASES: tuple[Case, ...] = (
    *rows("blocks", _bilinear(), tolerance=_bound),
    *rows("blocks", _moves()),
    *rows("blocks", _held()),
)
