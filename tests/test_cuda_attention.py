"""Attention's CUDA kernels on the simulated device, against the CPU's engine and by definition."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tilework import engines
from tilework.engines.score_rule import UNBOUNDED, ScoreRule
from tilework.testing import simulated, stand_in

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

PLAIN = ScoreRule(None, 0.3, 0.0, None, 0, UNBOUNDED, UNBOUNDED, 0.0, 0, 0)
CAUSAL = PLAIN._replace(right=0)


class Heads(NamedTuple):
    """What attention is called with, and the gradient of its result."""

    q: Any
    k: Any
    v: Any
    grad: Any


def heads(shape, width, value, dtype="float32", layout="blhe"):
    """`shape` is (batch, heads, heads of keys, queries, keys)."""
    rng = np.random.default_rng(1)
    b, h, g, queries, keys = shape

    def one(heads, rows, width):
        if layout == "blhe":
            return rng.standard_normal((b, rows, heads, width)).astype(dtype).swapaxes(1, 2)
        return rng.standard_normal((b, heads, rows, width)).astype(dtype)

    return Heads(one(h, queries, width), one(g, keys, width), one(g, keys, value),
                 one(h, queries, value))  # fmt: skip


def on_device(x, rule, **how):
    """out, log_sums, dq, dk, dv by the simulated device."""
    with simulated.device(**how):
        q, k, v, grad = map(stand_in.StandIn, x)
        bias, slopes = (None if a is None else stand_in.StandIn(a)
                        for a in (rule.bias, rule.slopes))  # fmt: skip
        rule = rule._replace(bias=bias, slopes=slopes)
        out, log_sums = engines.ops.attention_forward(q, k, v, *rule)
        grads = engines.ops.attention_backward(grad, q, k, v, out, log_sums, *rule)
        return [a._held.copy("K") for a in (out, log_sums, *grads)]


def on_cpu(x, rule):
    out, log_sums = engines.ops.attention_forward(x.q, x.k, x.v, *rule)
    grads = engines.ops.attention_backward(x.grad, x.q, x.k, x.v, out, log_sums, *rule)
    return [out, log_sums, *grads]


def check(x, rule, **how):
    got, want = on_device(x, rule, **how), on_cpu(x, rule)
    long = max(x.q.shape[2], x.k.shape[2], 1) + x.q.shape[3] + x.v.shape[3]
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.array_equal(np.isfinite(a), np.isfinite(b))
        seen = np.isfinite(b)
        scale = max(np.abs(b[seen]).max(initial=0), 1)
        assert np.abs(a[seen] - b[seen]).max(initial=0) <= np.finfo(b.dtype).eps * long * scale
    return got


@pytest.mark.parametrize("order", simulated.ORDERS)
@pytest.mark.parametrize("rule", [PLAIN, CAUSAL])
def test_three_orders(order, rule):
    check(heads((1, 2, 1, 37, 70), 20, 12), rule, order=order, seed=4)


@pytest.mark.parametrize("width", [40, 65, 250])
def test_widths(width):
    check(heads((1, 1, 1, 18, 34), width, width - 8), CAUSAL._replace(diagonal=16))
