"""What test_limits holds ops to: their formulas and derivatives in more than double precision, and
where a formula has no value and a limit exists, the limit (docs/numbers.md says the rules)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import tilework as tw
from tilework import functional as F

inf, nan = math.inf, math.nan
WIDE = np.longdouble  # 15 bits of exponent and 63 of fraction on x86: no float64 overflows in it
DTYPES = ("float32", "float64", "bfloat16")


def sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def bell(x):
    return sigmoid(x) * sigmoid(-x)


def erfc(x):
    return np.array([math.erfc(float(v)) for v in x.ravel()], WIDE).reshape(x.shape)


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * WIDE(math.pi))


def faded(x, p):
    """x * p, and 0 where p has vanished: it does so faster than x grows."""
    return np.where((p == 0) & ~np.isnan(x), 0, x * p)


def where(condition, a, b):
    return np.where(condition, WIDE(a), b)


SELU = 1.6732632423543772, 1.0507009873554805  # alpha and scale: Klambauer et al. 2017
LINEAR = 2 * math.sqrt(2 / math.pi)


def inner(x):
    """What gelu_tanh's gate is the sigmoid of; cut where that is flat."""
    x = np.clip(x, -1e4, 1e4)
    return LINEAR * (x + 0.044715 * x**3)


def inner_slope(x):
    return LINEAR * (1 + 3 * 0.044715 * np.clip(x, -1e4, 1e4) ** 2)


def inner_bend(x):
    return LINEAR * 6 * 0.044715 * np.clip(x, -1e4, 1e4)


def gelu_tanh_bend(x):
    """2 p v' + x (p' v'^2 + p v''), p = s(v) s(-v), p' = -p tanh(v / 2)."""
    v, dv, ddv = inner(x), inner_slope(x), inner_bend(x)
    x = np.clip(x, -1e4, 1e4)
    return bell(v) * (2 * dv + x * (ddv - np.tanh(v / 2) * dv * dv))


@dataclass(frozen=True)
class Function:
    """One call of one tensor, its value, slope and bend.

    `ulps`: the error of each beside its own size. `near`: and beside 1, for what is made of a gate
    near 1 (a result is saved, not its complement).
    """

    call: Any
    value: Any
    slope: Any
    bend: Any = None
    ulps: float = 8.0
    near: tuple[float, float, float] = (0.0, 0.0, 0.0)


def power(exponent):
    e = WIDE(exponent)

    def of(times, less):
        # Half powers are roots, NaN at -Inf and -Inf at -0, where C's pow gives Inf.
        roots = {0.5: np.sqrt, -0.5: lambda x: 1 / np.sqrt(x)}
        function = roots.get(float(e - less), lambda x: np.power(x, e - less))
        return lambda x: np.zeros_like(x) if times == 0 else times * function(x)

    return Function(
        lambda x: x**exponent, of(WIDE(1), 0), of(e, 1), of(e * (e - 1), 2) if e != 1 else None
    )


def stepped(call, function):
    return Function(call, function, np.zeros_like, np.zeros_like)


UNARY = {
    "relu": Function(
        F.relu, lambda x: np.maximum(x, 0), lambda x: where(x <= 0, 0, 1), np.zeros_like
    ),
    "abs": Function(tw.abs, np.abs, np.sign),
    "neg": Function(tw.neg, np.negative, lambda x: -np.ones_like(x)),
    "square": Function(tw.square, np.square, lambda x: 2 * x, lambda x: 2 * np.ones_like(x)),
    "exp": Function(tw.exp, np.exp, np.exp, np.exp),
    "sin": Function(tw.sin, np.sin, np.cos, lambda x: -np.sin(x)),
    "cos": Function(tw.cos, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)),
    "log": Function(tw.log, np.log, lambda x: 1 / x, lambda x: -1 / x / x),
    "sqrt": Function(
        tw.sqrt, np.sqrt, lambda x: 0.5 / np.sqrt(x), lambda x: -0.25 / np.sqrt(x) ** 3
    ),
    "rsqrt": Function(
        tw.rsqrt,
        lambda x: 1 / np.sqrt(x),
        lambda x: -0.5 / np.sqrt(x) ** 3,
        lambda x: 0.75 / np.sqrt(x) ** 5,
    ),
    "sigmoid": Function(
        tw.sigmoid, sigmoid, bell, lambda x: -bell(x) * np.tanh(x / 2), near=(0, 2, 0)
    ),
    "tanh": Function(
        tw.tanh,
        np.tanh,
        lambda x: 4 * bell(2 * x),
        lambda x: -8 * bell(2 * x) * np.tanh(x),
        near=(0, 4, 0),
    ),
    "silu": Function(
        F.silu,
        lambda x: faded(x, sigmoid(x)),
        lambda x: sigmoid(x) + faded(x, bell(x)),
        lambda x: 2 * bell(x) - faded(x, bell(x) * np.tanh(x / 2)),
        ulps=40.0,
    ),
    "gelu": Function(
        F.gelu,
        lambda x: faded(x, erfc(-x / np.sqrt(WIDE(2))) / 2),
        lambda x: erfc(-x / np.sqrt(WIDE(2))) / 2 + faded(x, density(x)),
        lambda x: 2 * density(x) - faded(x, faded(x, density(x))),
        ulps=400.0,
        near=(20, 20, 0),
    ),
    "gelu_tanh": Function(
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: faded(x, sigmoid(inner(x))),
        lambda x: sigmoid(inner(x)) + faded(x, bell(inner(x)) * inner_slope(x)),
        gelu_tanh_bend,
        ulps=2000.0,
    ),
    "clamp": Function(
        lambda x: x.clamp(-2.0, 2.0),
        lambda x: np.clip(x, -2, 2),
        lambda x: where(np.abs(x) <= 2, 1, 0),
        np.zeros_like,
    ),
    "remainder": Function(
        lambda x: x % 3.0, lambda x: np.remainder(x, WIDE(3)), np.ones_like, np.zeros_like
    ),
    **{f"pow {e}": power(e) for e in (0.0, 0.5, 1.0, 2.0, 2.5, 3.0, -1.0)},
    **{
        name: stepped(getattr(tw, name), getattr(np, "rint" if name == "round" else name))
        for name in ("floor", "ceil", "round")
    },
    "sign": stepped(tw.sign, np.sign),
    "bce of 0": Function(
        lambda x: F.binary_cross_entropy_with_logits(x, tw.zeros_like(x), reduction="none"),
        lambda x: np.logaddexp(x, 0),
        sigmoid,
        bell,
    ),
    "bce of 1": Function(
        lambda x: F.binary_cross_entropy_with_logits(x, tw.ones_like(x), reduction="none"),
        lambda x: np.logaddexp(-x, 0),
        lambda x: -sigmoid(-x),
        bell,
    ),
    "exp2": Function(tw.exp2, np.exp2, lambda x: np.exp2(x) * np.log(WIDE(2))),
    "expm1": Function(tw.expm1, np.expm1, np.exp, np.exp),
    "log1p": Function(tw.log1p, np.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2),
    "log2": Function(tw.log2, np.log2, lambda x: 1 / x / np.log(WIDE(2))),
    "log10": Function(tw.log10, np.log10, lambda x: 1 / x / np.log(WIDE(10))),
    "asin": Function(tw.asin, np.arcsin, lambda x: 1 / np.sqrt(1 - x * x)),
    "acos": Function(tw.acos, np.arccos, lambda x: -1 / np.sqrt(1 - x * x)),
    "atan": Function(tw.atan, np.arctan, lambda x: 1 / (1 + x * x)),
    "tan": Function(tw.tan, np.tan, lambda x: 1 + np.tan(x) ** 2),
    "sinh": Function(tw.sinh, np.sinh, np.cosh, np.sinh),
    "cosh": Function(tw.cosh, np.cosh, np.sinh, np.cosh),
    "erf": Function(
        tw.erf,
        lambda x: 1 - erfc(x),
        lambda x: 2 * density(x * np.sqrt(WIDE(2))) * np.sqrt(WIDE(2)),
        near=(2, 0, 0),
    ),
    "reciprocal": Function(tw.reciprocal, lambda x: 1 / x, lambda x: -1 / x / x),
    "trunc": stepped(tw.trunc, np.trunc),
    "hardtanh": Function(
        F.hardtanh, lambda x: np.clip(x, -1, 1), lambda x: where(np.abs(x) < 1, 1, 0)
    ),
    "relu6": Function(
        F.relu6, lambda x: np.clip(x, 0, 6), lambda x: where((x > 0) & (x < 6), 1, 0)
    ),
    "leaky_relu": Function(
        lambda x: F.leaky_relu(x, 0.25),
        lambda x: where(x > 0, x, x / 4),
        lambda x: where(x > 0, 1, 0.25),
    ),
    "hardshrink": Function(
        F.hardshrink,
        lambda x: where(np.abs(x) <= 0.5, 0, x),
        lambda x: where(np.abs(x) <= 0.5, 0, 1),
    ),
    "softshrink": Function(
        F.softshrink,
        lambda x: where(np.abs(x) <= 0.5, 0, x - np.sign(x) / 2),
        lambda x: where(np.abs(x) <= 0.5, 0, 1),
    ),
    "threshold": Function(
        lambda x: F.threshold(x, 0.5, 7.0),
        lambda x: where(x <= 0.5, 7, x),
        lambda x: where(x <= 0.5, 0, 1),
    ),
    "softsign": Function(
        F.softsign,
        lambda x: where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
    ),
    "hardsigmoid": Function(
        F.hardsigmoid,
        lambda x: np.clip(x / 6 + WIDE(0.5), 0, 1),
        lambda x: where(np.abs(x) < 3, WIDE(1) / 6, 0),
    ),
    "hardswish": Function(
        F.hardswish,
        lambda x: where(x <= -3, 0, where(x >= 3, x, x * (x / 6 + WIDE(0.5)))),
        lambda x: where(x <= -3, 0, where(x < 3, x / 3 + WIDE(0.5), 1)),
    ),
    "elu": Function(
        F.elu,
        lambda x: where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
    "selu": Function(
        F.selu,
        lambda x: SELU[1] * where(x > 0, x, SELU[0] * np.expm1(np.minimum(x, 0))),
        lambda x: SELU[1] * where(x > 0, 1, SELU[0] * np.exp(np.minimum(x, 0))),
    ),
    "celu": Function(
        lambda x: F.celu(x, 2.0),
        lambda x: where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)),
        lambda x: where(x > 0, 1, np.exp(np.minimum(x, 0) / 2)),
    ),
    "mish": Function(
        F.mish,
        lambda x: faded(x, np.tanh(softplus(x))),
        lambda x: np.tanh(softplus(x)) + faded(x, sigmoid(x) / np.cosh(softplus(x)) ** 2),
        ulps=40.0,
    ),
    "tanhshrink": Function(
        F.tanhshrink, lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2, ulps=1e9
    ),
    "mse": Function(
        lambda x: F.mse_loss(x, tw.ones_like(x), reduction="none"),
        lambda x: (x - 1) ** 2,
        lambda x: 2 * (x - 1),
        lambda x: 2 * np.ones_like(x),
    ),
    "l1": Function(
        lambda x: F.l1_loss(x, tw.ones_like(x), reduction="none"),
        lambda x: np.abs(x - 1),
        lambda x: np.sign(x - 1),
    ),
    "huber": Function(
        lambda x: F.huber_loss(x, tw.zeros_like(x), reduction="none", delta=100.0),
        lambda x: where(np.abs(x) < 100, x * x / 2, 100 * (np.abs(x) - 50)),
        lambda x: np.clip(x, -100, 100),
    ),
    "smooth_l1": Function(
        lambda x: F.smooth_l1_loss(x, tw.zeros_like(x), reduction="none", beta=100.0),
        lambda x: where(np.abs(x) < 100, x * x / 200, np.abs(x) - 50),
        lambda x: np.clip(x / 100, -1, 1),
    ),
    "cross_entropy beside 0": Function(
        lambda x: F.cross_entropy(
            tw.stack([x, tw.zeros_like(x)], 1), tw.ones(len(x)).long(), reduction="none"
        ),
        lambda x: where(x == inf, nan, np.logaddexp(x, 0)),
        lambda x: where(x == inf, nan, sigmoid(x)),
        near=(4, 4, 0),
    ),
}


# --- two tensors: every pair of ends ---


@dataclass(frozen=True)
class Pair:
    """One call of two tensors, its value and both slopes."""

    call: Any
    value: Any
    first: Any
    second: Any
    ulps: float = 4.0
    denormals: bool = True
    # Of the first: what is multiplied by the second once it is rounded, so that a result may be
    # normal where a factor is not.
    factors: tuple[Any, ...] = ()


def shares(wins, ties):
    return lambda x, y: np.where(wins(x, y) | np.isnan(x) | np.isnan(y), 1, 0) + ties * (x == y) / 2


def base_slope(x, y):
    p = np.power(x, y - 1)
    return np.where((y == 0) | (np.isinf(y) & (p == 0)), 0, y * p)


def exponent_slope(x, y):
    p = np.power(x, y)
    return np.where((np.isinf(x) & (p == 0)) | ((x == 0) & (y >= 0)), 0, p * np.log(x))


def ones(x, y):
    return np.ones_like(x)


def zeros(x, y):
    return np.zeros_like(x)


def turned(x, y):
    """The slope of the angle of (x, y) to y, times -1: x over the square of its length."""
    square = x * x + y * y
    return np.where(np.isinf(square) | (square == 0), 0, x / square)


def toward(x, y):
    """The slope of a point's length to x: its cosine, and 0 at no length."""
    size = np.where(np.isnan(y), nan, np.sqrt(x * x + y * y))
    far = np.isinf(x) & np.isfinite(y)
    return np.where(size == 0, 0, np.where(far, np.sign(x), x / size))


def share_of_sum(x, y):
    return np.where(x == y, 0.5, sigmoid(x - y))


def stack_of(x, y):
    return tw.stack([x, y])


def gate(name, call):
    """An activation of the first, times the second."""
    f = UNARY[name]
    return Pair(
        call,
        lambda x, y: f.value(x) * y,
        lambda x, y: f.slope(x) * y,
        lambda x, y: f.value(x),
        ulps=2 * f.ulps,
        factors=(f.value, f.slope),
    )


PAIRS = {
    "add": Pair(tw.add, np.add, ones, ones),
    "sub": Pair(tw.sub, np.subtract, ones, lambda x, y: -np.ones_like(x)),
    "mul": Pair(tw.mul, np.multiply, lambda x, y: y, lambda x, y: x),
    "div": Pair(tw.div, np.divide, lambda x, y: 1 / y, lambda x, y: -(x / y / y)),
    # Of denormals x^(y - 1) leaves the range, where y times it would not.
    "pow": Pair(tw.pow, np.power, base_slope, exponent_slope, ulps=16.0, denormals=False),
    "maximum": Pair(tw.maximum, np.maximum, shares(np.greater, 1), shares(np.less, 1)),
    "minimum": Pair(tw.minimum, np.minimum, shares(np.less, 1), shares(np.greater, 1)),
    "atan2": Pair(tw.atan2, np.arctan2, lambda x, y: turned(y, x), lambda x, y: -turned(x, y)),
    # Of denormals a length has few digits.
    "hypot": Pair(tw.hypot, np.hypot, toward, lambda x, y: toward(y, x), denormals=False),
    "logaddexp": Pair(
        tw.logaddexp, np.logaddexp, share_of_sum, lambda x, y: share_of_sum(y, x), ulps=8.0
    ),
    "remainder": Pair(tw.remainder, np.remainder, ones, lambda x, y: -np.floor_divide(x, y)),
    "clamp from below": Pair(
        lambda x, y: x.clamp(min=y),
        np.maximum,
        lambda x, y: np.where(x >= y, 1, 0),
        lambda x, y: np.where(x < y, 1, 0),
    ),
    "clamp from above": Pair(
        lambda x, y: x.clamp(max=y),
        np.minimum,
        lambda x, y: np.where(x <= y, 1, 0),
        lambda x, y: np.where(x > y, 1, 0),
    ),
    "where": Pair(
        lambda x, y: tw.where(x > y, x, y),
        lambda x, y: np.where(x > y, x, y),
        lambda x, y: np.where(x > y, 1, 0),
        lambda x, y: np.where(x > y, 0, 1),
    ),
    "glu": gate("sigmoid", lambda x, y: F.glu(stack_of(y, x), 0).squeeze(0)),
    "swiglu": gate("silu", F.swiglu),
    "geglu": gate("gelu", F.geglu),
    "geglu_tanh": gate("gelu_tanh", lambda x, y: F.geglu(x, y, approximate="tanh")),
}


# --- rows: every triple of ends ---


def largest_share(x, sign):
    """To the winners in equal parts; NaN wins."""
    top = np.max(sign * x, axis=1, keepdims=True)
    winners = np.where(np.isnan(top), np.isnan(x), sign * x == top)
    return winners / winners.sum(1, keepdims=True)


def logsumexp(x):
    top = np.max(x, axis=1, keepdims=True)
    base = np.where(np.isinf(top), 0, top)
    return (np.log(np.exp(x - base).sum(1, keepdims=True)) + base)[:, 0]


def log_softmax(x):
    """As PyTorch's: NaN with +Inf, or where all are -Inf, since the limit depends on the way."""
    below = x - np.max(x, axis=1, keepdims=True)
    return below - np.log(np.exp(below).sum(1, keepdims=True))


def softmax(x):
    return np.exp(log_softmax(x))


def logsumexp_slope(x):
    """softmax; nothing of nothing, and equal parts of what is infinite."""
    y = logsumexp(x)[:, None]
    count = np.maximum((x == inf).sum(1, keepdims=True), 1)
    return np.where(np.isinf(y), (x == inf) * (y == inf) / count, softmax(x))


def away(x):
    return x - x.mean(1, keepdims=True)


def deviation(x):
    return np.sqrt((away(x) ** 2).sum(1) / 2)


def std_slope(x):
    s = deviation(x)[:, None]
    return np.where(s == 0, 0, away(x) / (2 * s))


@dataclass(frozen=True)
class Rows:
    """One call along axis 1, its value, and the gradient of a row's sum."""

    call: Any
    value: Any
    slope: Any
    ulps: float = 8.0
    sums: bool = False  # whether a sum that leaves the range on its way may be infinite
    squares: bool = False  # whether those of denormals of float64 are lost
    # Dtypes in which a product of denormals or of the largest numbers leaves the range on its way.
    narrow: tuple[str, ...] = ()


def others(x):
    """The product of a row's other elements, in the place of each."""
    return np.stack([np.prod(np.delete(x, i, 1), 1) for i in range(3)], 1)


def running_slope(x):
    """What each element adds to the running products from its own place on, by its slope."""
    a, b, c = x.T
    return np.stack([1 + b * (1 + c), a * (1 + c), a * b], 1)


def length(p):
    def of(x):
        size = np.abs(x)
        return size.max(1) if p == inf else np.power(np.power(size, p).sum(1), 1 / WIDE(p))

    return of


def length_slope(p):
    """(x / length)^(p - 1) with x's sign; 0 of no length, 1 of what is infinite alone."""

    def of(x):
        size, n = np.abs(x), length(p)(x)[:, None]
        alone = (size == inf) & (np.isfinite(x).sum(1, keepdims=True) == 2)
        share = np.where(alone, 1, np.power(size / n, p - 1))
        return np.where((n == 0) | (x == 0) & np.isfinite(n), 0, np.sign(x) * share)

    return of


def largest_slope(x):
    """To the largest sizes in equal parts, with their signs; NaN to NaN."""
    return np.where(x == 0, 0, np.sign(x) * largest_share(np.abs(x), 1))


ROWS = {
    "prod": Rows(lambda x: x.prod(1), lambda x: np.prod(x, 1), others, narrow=("float64",)),
    "cumprod": Rows(
        lambda x: x.cumprod(1),
        lambda x: np.cumprod(x, 1),
        running_slope,
        sums=True,
        narrow=("float64",),
    ),
    **{
        f"norm of order {p}": Rows(
            lambda x, p=p: x.norm(p, 1), length(p), length_slope(p), ulps=16.0, narrow=DTYPES
        )
        for p in (1.5, 2, 3)
    },
    "norm of order 1": Rows(lambda x: x.norm(1, 1), lambda x: np.abs(x).sum(1), np.sign, sums=True),
    "norm of order inf": Rows(lambda x: x.norm(inf, 1), length(inf), largest_slope),
    "sum": Rows(lambda x: x.sum(1), lambda x: x.sum(1), np.ones_like, sums=True),
    "mean": Rows(
        lambda x: x.mean(1), lambda x: x.mean(1), lambda x: np.ones_like(x) / 3, sums=True
    ),
    "cumsum": Rows(
        lambda x: x.cumsum(1),
        lambda x: np.cumsum(x, 1),
        lambda x: np.broadcast_to(np.array([3, 2, 1], WIDE), x.shape),
        sums=True,
    ),
    "var": Rows(lambda x: x.var(1), lambda x: deviation(x) ** 2, away, sums=True, squares=True),
    "std": Rows(lambda x: x.std(1), deviation, std_slope, sums=True, squares=True),
    "amax": Rows(lambda x: x.amax(1), lambda x: x.max(1), lambda x: largest_share(x, 1)),
    "amin": Rows(lambda x: x.amin(1), lambda x: x.min(1), lambda x: largest_share(x, -1)),
    "scatter_reduce": Rows(
        lambda x: tw.zeros(len(x), 1, dtype=x.dtype).scatter_reduce(
            1, tw.zeros(len(x), 3).long(), x, "amax", include_self=False
        )[:, 0],
        lambda x: x.max(1),
        lambda x: largest_share(x, 1),
    ),
    "segment_mean": Rows(
        lambda x: F.segment_mean(x.T, tw.zeros(3).long(), 1)[0],
        lambda x: x.mean(1),
        lambda x: np.ones_like(x) / 3,
        sums=True,
    ),
    "segment_softmax": Rows(
        lambda x: F.segment_softmax(x.T, tw.zeros(3).long(), 1).T,
        lambda x: np.where((x == -np.inf).all(1, keepdims=True), 0, softmax(x)),
        None,
    ),
    "logsumexp": Rows(lambda x: x.logsumexp(1), logsumexp, logsumexp_slope),
    "softmax": Rows(lambda x: x.softmax(1), softmax, None),
    "log_softmax": Rows(lambda x: x.log_softmax(1), log_softmax, None),
    "cross_entropy": Rows(
        lambda x: F.cross_entropy(x, tw.zeros(len(x)).long(), reduction="none"),
        lambda x: -log_softmax(x)[:, 0],
        lambda x: softmax(x) - np.array([1, 0, 0]),
    ),
    "nll_loss": Rows(
        lambda x: F.nll_loss(x, tw.ones(len(x)).long(), reduction="none"),
        lambda x: -x[:, 1],
        lambda x: np.broadcast_to(np.array([0, -1, 0], WIDE), x.shape),
    ),
    "nll_loss of ignored rows": Rows(
        lambda x: F.nll_loss(x, tw.full((len(x),), -100), reduction="none"),
        lambda x: np.zeros_like(x[:, 0]),
        np.zeros_like,
    ),
    "sort": Rows(lambda x: x.sort(1).values, lambda x: np.sort(x, 1), np.ones_like),
    "topk": Rows(lambda x: x.topk(3, 1).values, lambda x: np.flip(np.sort(x, 1), 1), np.ones_like),
    "index": Rows(
        lambda x: x[:, tw.tensor([0, 0, 2])],
        lambda x: x[:, [0, 0, 2]],
        lambda x: np.broadcast_to(np.array([2, 0, 1], WIDE), x.shape),
    ),
}
