"""Attention's CUDA kernels on the simulated device, against the CPU's engine and by definition."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tilework import engines
from tilework.dtypes import bfloat16
from tilework.engines.score_rule import UNBOUNDED, ScoreRule
from tilework.testing import simulated, stand_in, traffic

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


def _largest(x):
    return max(np.abs(x[np.isfinite(x)]).max(initial=0), 1)


def check(x, rule, **how):
    """The device's, held against the CPU's. Sums of `terms` products are off by eps each, and a
    weight by its score's eps: its exponential's relative error."""
    got, want = on_device(x, rule, **how), on_cpu(x, rule)
    terms = max(x.q.shape[2], x.k.shape[2], 1) + x.q.shape[3] + x.v.shape[3]
    score = rule.scale * _largest(x.q) * _largest(x.k) * x.q.shape[3]
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        seen = np.isfinite(b)
        assert np.array_equal(np.isfinite(a), seen)
        limit = np.finfo(b.dtype).eps * (terms + score) * _largest(b)
        assert np.abs(a[seen] - b[seen]).max(initial=0) <= limit
    return got


def by_definition(x, rule):
    """What on_device gives, in float64, and beside each what its sums' errors are in proportion to,
    and those of rounding results to bfloat16."""
    q, k, v, g = (a.astype("float64") for a in x)
    (b, h, rows, _), group = q.shape, x.q.shape[1] // x.k.shape[1]
    k, v = (np.repeat(a, group, 1) for a in (k, v))
    s, slope = q @ k.swapaxes(2, 3) * rule.scale, 1.0
    if rule.softcap:
        slope = 1 - np.tanh(s / rule.softcap) ** 2
        s = np.tanh(s / rule.softcap) * rule.softcap
    away = np.arange(k.shape[2]) - np.arange(rows)[:, None] - rule.diagonal
    s = s + (0 if rule.slopes is None else rule.slopes[:, None, None] * away)
    s = s + (0 if rule.bias is None else rule.bias)
    s = np.where((away < -rule.left) | (away > rule.right), -np.inf, s)
    top = np.maximum(s.max(3, keepdims=True), -1e300)
    total = np.exp(s - top).sum(3, keepdims=True)
    w = np.exp(s - top) / np.where(total == 0, 1, total)
    keeps = engines.ops.dropout_forward(np.ones(s.shape), rule.p, rule.seed, rule.call)
    out = w * keeps @ v
    dots = (out * g).sum(3, keepdims=True)
    ds = w * rule.scale * slope * (g @ v.swapaxes(2, 3) * keeps - dots)
    of_dots = w * rule.scale * (abs(out) * abs(g)).sum(3, keepdims=True)
    sure = w * rule.scale * (abs(g) @ abs(v).swapaxes(2, 3) * keeps) + of_dots

    def of_keys(weights, y):
        made = weights.swapaxes(2, 3) @ y
        return made.reshape(b, h // group, group, *made.shape[2:]).sum(2)

    with np.errstate(divide="ignore"):
        log_sums = (top + np.log(total))[..., 0]
    kept = w * keeps
    dq, dk, dv = ds @ k, of_keys(ds, q), of_keys(kept, g)
    return [
        (out, kept @ abs(v), abs(out)), (log_sums, 1, 0),
        (dq, sure @ abs(k), abs(dq) + of_dots @ abs(k)),
        (dk, of_keys(sure, abs(q)), abs(dk) + of_keys(of_dots, abs(q))),
        (dv, of_keys(kept, abs(g)), abs(dv)),
    ]  # fmt: skip


def check_by_definition(x, rule, **how):
    """Of bfloat16 a result is rounded once, and what goes into it is to 17 bits, as weights are in
    two parts."""
    got = on_device(x, rule, **how)
    terms = max(x.q.shape[2], x.k.shape[2], 1) + x.q.shape[3] + x.v.shape[3]
    score = rule.scale * _largest(x.q) * _largest(x.k) * x.q.shape[3]
    rounding, parts = (2.0**-8, 2.0**-16) if x.q.dtype == bfloat16 else (0, 0)
    eps = np.finfo("float64" if x.q.dtype == "float64" else "float32").eps
    for a, (want, sure, rounded) in zip(got, by_definition(x, rule), strict=True):
        seen = np.isfinite(want)
        assert np.array_equal(np.isfinite(a), seen)
        off = abs(np.where(seen, a.astype("float64"), 0) - np.where(seen, want, 0))
        assert (off <= (eps * (terms + score) + parts) * sure + rounding * rounded).all()
    return got


def bias(shape, dtype="float32"):
    """A third of it hides."""
    rng = np.random.default_rng(2)
    made = rng.standard_normal(shape).astype(dtype)
    made[rng.random(shape) < 1 / 3] = -np.inf
    return made


SLOPES = np.array([0.5, -0.25, 0.125, 0.0], np.float32)


@pytest.mark.parametrize("order", simulated.ORDERS)
@pytest.mark.parametrize("rule", [
    PLAIN, CAUSAL, PLAIN._replace(softcap=2.0, slopes=SLOPES[:2], p=0.3, seed=5, call=9),
])  # fmt: skip
def test_three_orders(order, rule):
    check(heads((1, 2, 1, 37, 70), 20, 12), rule, order=order, seed=4)


@pytest.mark.parametrize(("width", "value"), [(1, 33), (40, 36), (65, 3), (250, 256)])
def test_widths(width, value):
    check(heads((1, 1, 1, 18, 34), width, value), CAUSAL._replace(diagonal=16))


@pytest.mark.parametrize(("width", "rows", "cols"), [(32, 64, 64), (64, 32, 32), (128, 16, 32)])
def test_lengths_around_tiles(width, rows, cols):
    for queries, keys in ((rows - 1, cols + 1), (rows, cols), (rows + 1, cols - 1), (1, cols)):
        check(heads((1, 1, 1, queries, keys), width, 8), PLAIN)


@pytest.mark.parametrize("rule", [
    CAUSAL, CAUSAL._replace(diagonal=31), PLAIN._replace(left=3, right=2),
    PLAIN._replace(left=5, diagonal=-40), PLAIN._replace(right=-30), CAUSAL._replace(diagonal=-500),
])  # fmt: skip
def test_windows(rule):
    """Also those that leave rows, or all of them, with nothing to see."""
    out, log_sums, *_ = check(heads((1, 1, 1, 70, 101), 8, 8), rule)
    hidden = np.isneginf(log_sums)
    assert not out[hidden].any()


def test_tiles_outside_of_the_window_are_not_read():
    """Queries of NaN behind the last key that sees any."""
    x = heads((1, 1, 1, 256, 256), 8, 8)
    x.k[:, :, 128:] = np.nan
    x.v[:, :, 128:] = np.nan
    got = on_device(x, CAUSAL._replace(diagonal=-128))
    assert all(np.isfinite(a).all() for a in (got[0], *got[2:]))


@pytest.mark.parametrize("shape", [(2, 4, 21, 37), (1, 4, 1, 37), (2, 1, 21, 1), (1, 1, 21, 37)])
def test_masks_broadcast(shape):
    check(heads((2, 4, 2, 21, 37), 16, 16), PLAIN._replace(bias=bias(shape)))


def test_a_row_that_is_masked_whole_gives_zeros():
    mask = bias((1, 1, 5, 40))
    mask[0, 0, 2] = -np.inf
    out, log_sums, dq, _, _ = check(heads((1, 1, 1, 5, 40), 8, 8), PLAIN._replace(bias=mask))
    assert not out[0, 0, 2].any()
    assert not dq[0, 0, 2].any()
    assert np.isneginf(log_sums[0, 0, 2])


def test_what_is_hidden_has_no_part():
    """Not even where it is not finite; and where it is seen it is told."""
    x = heads((1, 2, 1, 9, 37), 16, 16)
    x.k[:, :, 30:], x.v[:, :, 30:], x.q[:, 1, 4] = np.nan, np.inf, np.nan
    mask = np.zeros((1, 2, 9, 37), np.float32)
    mask[..., 30:] = mask[:, 1, 4] = -np.inf
    got = check(x, PLAIN._replace(bias=mask))
    assert all(np.isfinite(a).all() for a in (got[0], *got[2:]))
    x.v[0, 0, 3, 1] = np.nan
    got = check(x, CAUSAL._replace(bias=mask))
    assert np.isnan(got[0][0, 0, 5, 1])
    assert np.isfinite(got[0][0, 0, 2]).all()


def test_scores_without_bound():
    x = heads((1, 1, 1, 9, 37), 8, 8)
    x.q[...] *= 1e4
    check(x, PLAIN)


@pytest.mark.parametrize(("p", "keys"), [(0.25, 37), (0.5, 64), (1.0, 16)])
def test_dropout_is_the_cpu_s(p, keys):
    """To the bit: with a value of ones and equal scores the result counts what is kept."""
    rule = PLAIN._replace(p=p, seed=2**63 + 7, call=3)
    check(heads((2, 4, 2, 21, keys), 16, 16), rule)
    x = heads((1, 2, 2, 40, keys), 4, keys)
    x.q[...] = 0
    x.v[...] = np.eye(keys)
    kept = [on(x, rule)[0] != 0 for on in (on_device, on_cpu)]
    assert np.array_equal(*kept)
    assert abs(kept[0].mean() - (1 - p)) <= 4 * (p * (1 - p) / kept[0].size) ** 0.5


RULES = {
    "plain": PLAIN, "causal": CAUSAL, "window": PLAIN._replace(left=9, right=4, diagonal=21),
    "all": CAUSAL._replace(diagonal=33, softcap=3.0, slopes=SLOPES[:2], bias=bias((1, 2, 37, 1)),
                           p=0.2, seed=3, call=1),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64", bfloat16])
def test_by_definition(dtype, rule):
    made = RULES[rule]
    if dtype == "float64" and made.bias is not None:
        made = made._replace(bias=made.bias.astype(dtype), slopes=made.slopes.astype(dtype))
    check_by_definition(heads((1, 2, 1, 37, 70), 20, 12, dtype), made)


@pytest.mark.parametrize(("width", "value"), [(40, 64), (65, 128), (200, 256), (7, 5)])
def test_widths_of_bfloat16(width, value):
    rule = CAUSAL._replace(diagonal=30, scale=0.1)
    check_by_definition(heads((1, 1, 1, 35, 66), width, value, bfloat16), rule)


def test_widths_of_float64():
    for width in (50, 100, 200):
        check_by_definition(heads((1, 1, 1, 18, 34), width, 3, "float64"), CAUSAL)


@pytest.mark.parametrize(("width", "rows", "cols"), [(32, 64, 64), (64, 64, 32), (256, 32, 32)])
def test_lengths_of_bfloat16_around_tiles(width, rows, cols):
    rule = PLAIN._replace(scale=0.1)
    for queries, keys in ((rows - 1, cols + 1), (rows + 1, cols), (1, 1)):
        check_by_definition(heads((1, 1, 1, queries, keys), width, 8, bfloat16), rule)


def test_what_is_hidden_has_no_part_in_bfloat16():
    x = heads((1, 2, 1, 9, 37), 16, 16, bfloat16)
    mask = np.zeros((1, 2, 9, 37), np.float32)
    mask[..., 30:] = mask[:, 1, 4] = -np.inf
    want = on_device(x, PLAIN._replace(bias=mask))
    x.k[:, :, 30:], x.v[:, :, 30:] = np.nan, np.inf
    got = on_device(x, PLAIN._replace(bias=mask))
    for a, b in zip(got, want, strict=True):
        a, b = a.astype("float32"), b.astype("float32")
        seen = np.isfinite(b)
        assert np.array_equal(np.isfinite(a), seen)
        # One way rounds weights and the other does not.
        assert abs(a[seen] - b[seen]).max() <= 2.0**-8 * 37 * max(abs(b[seen]).max(), 1)


@pytest.mark.parametrize("order", simulated.ORDERS)
def test_three_orders_in_bfloat16(order):
    rule = CAUSAL._replace(diagonal=40)
    check_by_definition(heads((1, 2, 1, 70, 101), 24, 24, bfloat16), rule, order=order, seed=4)


def test_heads_are_read_where_they_lie():
    """Aligned or not, and of an axis that is not adjacent a copy."""
    x = heads((2, 3, 1, 20, 40), 16, 16, layout="bhle")
    want = check(x, CAUSAL)
    wide = [np.zeros((*a.shape[:3], a.shape[3] + 1), a.dtype)[..., 1:] for a in x]
    turned = [np.zeros((*a.shape[:2], *a.shape[:1:-1]), a.dtype).swapaxes(2, 3) for a in x]
    for made in (wide, turned):
        for a, b in zip(made, x, strict=True):
            a[...] = b
        got = on_device(Heads(*made), CAUSAL)
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    assert got[0].swapaxes(1, 2).flags.c_contiguous


@pytest.mark.parametrize("shape", [(0, 1, 1, 3, 3), (1, 1, 1, 0, 3), (1, 1, 1, 3, 0)])
def test_empty(shape):
    check(heads(shape, 8, 8), CAUSAL)


def test_the_device_s_bits_do_not_depend_on_its_order():
    x = heads((1, 2, 1, 70, 70), 16, 16)
    runs = [on_device(x, CAUSAL, order=order, races=False) for order in simulated.ORDERS]
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize(("dtype", "width"), [
    ("float32", 64), ("float32", 256), (bfloat16, 32), (bfloat16, 64), (bfloat16, 256),
])  # fmt: skip
def test_no_bank_conflict(dtype, width):
    """Of all lines that touch shared memory."""
    x = heads((1, 1, 1, 64, 64), width, width, dtype)
    lines = [line for line in traffic.counted(on_device, x, CAUSAL) if line.shared]
    assert sum(line.bytes == 16 for line in lines) >= 4  # tiles come and go 16 bytes at a time
    assert [line for line in lines if line.cost != line.ideal] == []
