"""Cases of the activations that the array library computes, and of dropouts of channels; and of
their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, special
from tilework.testing.reference import softplus
from tilework.testing.rows import Row, floats, given, rows
from tilework.testing.tolerance import eps, tiny

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934
SHAPE = (4, 3, 5)
SEED = 11
Of = Callable[[Array], Array]


def _bent(alpha: float, rate: float = 1.0, scale: float = 1.0) -> Of:
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) * rate))


def _mish(x: Array) -> Array:
    return np.where(x == -np.inf, 0.0, x * np.tanh(softplus(x)))


def _soft(x: Array) -> Array:
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def _shrunk(x: Array, by: float) -> Array:
    return np.where(np.abs(x) > by, x - np.sign(x) * by, 0.0 * x)


# The function and its layer, their settings, and the value.
ACTIVATIONS: tuple[tuple[str, str, dict[str, Any], Of], ...] = (
    ("leaky_relu", "LeakyReLU", {}, lambda x: np.where(x > 0, x, 0.01 * x)),
    ("leaky_relu", "LeakyReLU", {"negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("elu", "ELU", {}, _bent(1.0)),
    ("elu", "ELU", {"alpha": 0.5}, _bent(0.5)),
    ("selu", "SELU", {}, _bent(SELU_ALPHA, scale=SELU_SCALE)),
    ("celu", "CELU", {"alpha": 2.0}, _bent(2.0, 0.5)),
    ("rrelu", "RReLU", {"lower": 0.2, "upper": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    ("softplus", "Softplus", {}, softplus),
    ("softplus", "Softplus", {"beta": 2.0, "threshold": 1.0},
     lambda x: np.where(2 * x > 1, x, softplus(2 * x) / 2)),
    ("softsign", "Softsign", {}, _soft),
    ("hardtanh", "Hardtanh", {}, lambda x: np.clip(x, -1, 1)),
    ("hardtanh", "Hardtanh", {"min_val": -0.3, "max_val": 2.0}, lambda x: np.clip(x, -0.3, 2)),
    ("relu6", "ReLU6", {}, lambda x: np.clip(x, 0, 6)),
    ("hardsigmoid", "Hardsigmoid", {}, lambda x: np.clip(x + 3, 0, 6) / 6),
    ("hardswish", "Hardswish", {}, lambda x: np.maximum(x, -3) * (np.clip(x + 3, 0, 6) / 6)),
    ("mish", "Mish", {}, _mish),
    ("logsigmoid", "LogSigmoid", {}, lambda x: -softplus(-x)),
    ("tanhshrink", "Tanhshrink", {}, lambda x: x - np.tanh(x)),
    ("softshrink", "Softshrink", {"lambd": 0.4}, lambda x: _shrunk(x, 0.4)),
    ("hardshrink", "Hardshrink", {"lambd": 0.4}, lambda x: np.where(np.abs(x) <= 0.4, 0 * x, x)),
    ("threshold", "Threshold", {"threshold": 0.2, "value": -3.0},
     lambda x: np.where(x <= 0.2, -3.0, x)),
)  # fmt: skip
IN_PLACE = frozenset(
    ("leaky_relu", "elu", "selu", "celu", "rrelu", "hardtanh", "relu6", "hardsigmoid", "hardswish",
     "mish", "threshold")
)  # fmt: skip


def _bound(dtype: str, expected: Array, x: Array, *rest: Any) -> Array:
    """A few roundings at the size of the input, or of 1."""
    size = np.where(np.isfinite(x), np.abs(x), 0.0)
    return np.asarray(6.0 * eps(dtype) * (1.0 + size + np.abs(expected)) + tiny(dtype))


def _activations() -> Iterator[Row]:
    for name, layer, how, of in ACTIVATIONS:
        words = "".join(f" {k}={v}" for k, v in how.items())

        def call(tw: Any, F: Any, x: Any, name: str = name, how: Any = how) -> Any:
            return getattr(F, name)(x, **how)

        def over(tw: Any, F: Any, x: Any, name: str = name, how: Any = how) -> Any:
            y = x * 1
            return getattr(F, name)(y, **how, inplace=True) + 0 * y

        def of_layer(tw: Any, F: Any, x: Any, name: str = layer, how: Any = how) -> Any:
            return getattr(tw.nn, name)(**how)(x)

        slope: dict[str, Any] = {"differentiable": (0,)}
        if name == "hardsigmoid":  # PyTorch's sixth is float32's, in float64 too
            slope["peer"] = None
        for shape in (SHAPE, (), (0, 3), (67,)):
            yield f"{name} {shape}{words}", given(floats(*shape)), call, of, slope
        for layout in LAYOUTS:
            made = given(floats(2, 3, 4, 5, layout=layout))
            yield f"{name} {layout}{words}", made, call, of, slope
        values = given(lambda rng, t: special(t))
        yield f"{name} special values{words}", values, call, of, {"peer": None}
        yield f"{layer}{words}", given(floats(*SHAPE)), of_layer, of, slope
        if name in IN_PLACE:
            yield f"{name} in place{words}", given(floats(*SHAPE)), over, of, slope


def _prelu(x: Array, w: Array) -> Array:
    w = w.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else w.reshape(())
    return np.where(x > 0, x, w * x)


def _others() -> Iterator[Row]:
    both = {"differentiable": (0, 1)}
    for shape, count in ((SHAPE, 3), (SHAPE, 1), ((5,), 1), ((2, 4), 4), ((), 1)):
        yield (
            f"prelu {shape} of {count}", given(floats(*shape), floats(count)),
            lambda tw, F, x, w: F.prelu(x, w), _prelu, both,
        )  # fmt: skip

    def layer(tw: Any, F: Any, x: Any, w: Any) -> Any:
        made = tw.nn.PReLU(3)
        made.weight.data = w
        return made(x)

    yield "PReLU", given(floats(*SHAPE), floats(3)), layer, _prelu, {"differentiable": (0,)}
    yield (
        "PReLU at first", given(floats(*SHAPE)), lambda tw, F, x: tw.nn.PReLU(dtype=x.dtype)(x),
        lambda x: _prelu(x, np.full(1, 0.25)), {"differentiable": (0,)},
    )  # fmt: skip
    one = {"differentiable": (0,)}
    image = given(floats(2, 3, 2, 2))
    yield (
        "softmin", given(floats(*SHAPE)), lambda tw, F, x: F.softmin(x, 1),
        lambda x: reference.softmax(-x, 1), one,
    )  # fmt: skip
    yield (
        "Softmin", given(floats(*SHAPE)), lambda tw, F, x: tw.nn.Softmin(-1)(x),
        lambda x: reference.softmax(-x, 2), one,
    )  # fmt: skip
    yield (
        "Softmax2d", image, lambda tw, F, x: tw.nn.Softmax2d()(x),
        lambda x: reference.softmax(x, 1), one,
    )  # fmt: skip
    yield (
        "gumbel_softmax of one", given(floats(3, 1)), lambda tw, F, x: F.gumbel_softmax(x, 0.5),
        np.ones_like,
    )  # fmt: skip
    yield (
        "gumbel_softmax hard", given(_far),
        _drawn, lambda x: 1.0 * (x > 0),
    )  # fmt: skip


def _drawn(tw: Any, F: Any, x: Any) -> Any:
    tw.manual_seed(SEED)  # of equal logits the draw decides
    return F.gumbel_softmax(x, 0.5, hard=True, dim=0)


def _far(rng: Generator, dtype: str) -> Array:
    """Logits whose order no noise changes."""
    return np.array([[-1e4, 1e4], [1e4, -1e4], [-1e4, -1e4]], dtype)


DROPOUTS = {
    "dropout1d": ("Dropout1d", (2, 3, 4)),
    "dropout2d": ("Dropout2d", (2, 3, 4, 4)),
    "dropout3d": ("Dropout3d", (2, 3, 2, 2, 2)),
    "alpha_dropout": ("AlphaDropout", (5, 4)),
    "feature_alpha_dropout": ("FeatureAlphaDropout", (2, 3, 4)),
}


def _dropouts() -> Iterator[Row]:
    """Where nothing is left to chance; what is drawn is tested in test_random."""
    one = {"differentiable": (0,)}
    for name, (layer, shape) in DROPOUTS.items():
        made = given(floats(*shape))

        def call(tw: Any, F: Any, x: Any, name: str = name, **how: Any) -> Any:
            return getattr(F, name)(x, **how)

        def of_layer(tw: Any, F: Any, x: Any, name: str = layer, p: float = 0.5) -> Any:
            made = getattr(tw.nn, name)(p)
            return (made.eval() if p else made)(x)

        yield (
            f"{name} at rest", made,
            lambda tw, F, x, call=call: call(tw, F, x, p=0.4, training=False), np.asarray, one,
        )  # fmt: skip
        yield (
            f"{name} of nothing", made,
            lambda tw, F, x, call=call: call(tw, F, x, p=0.0, training=True), np.asarray, one,
        )  # fmt: skip
        yield (
            f"{name} of all", made,
            lambda tw, F, x, call=call: call(tw, F, x, p=1.0, training=True), np.zeros_like, one,
        )  # fmt: skip
        yield f"{layer} at rest", made, of_layer, np.asarray, one
        yield (
            f"{layer} of nothing", made,
            lambda tw, F, x, of=of_layer: of(tw, F, x, p=0.0), np.asarray, one,
        )  # fmt: skip


CASES: tuple[Case, ...] = (
    *rows("activations", _activations(), tolerance=_bound),
    *rows("activations", _others(), tolerance=_bound),
    *rows("activations", _dropouts()),
)
