"""Long sums of numbers of one sign, in every op and gradient that adds: a running sum in the dtype
itself stops at 256 in bfloat16, and drifts in float32.

The judge is the same call in float64, on the numbers as the narrow dtype holds them.
"""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.testing.runner import Target, running_on
from tilework.testing.tolerance import eps, growth, stored, working_eps

N = 1 << 17


def columns(x):
    return x.reshape(N, 1).expand(N, 3)


def labels():
    return tw.zeros(N).long()


# From x (N,) of positive numbers to what adds them, results and gradients of few elements.
VALUES = {
    "sum": lambda x: x.sum(),
    "sum of columns": lambda x: columns(x).sum(0),
    "sum of rows": lambda x: x.reshape(2, -1).sum(1),
    "sum_to_size": lambda x: columns(x).sum_to_size(1, 3),
    "mean": lambda x: x.mean(),
    "mean of columns": lambda x: columns(x).mean(0),
    "cumsum": lambda x: x.cumsum(0)[-1],
    "cumsum of columns": lambda x: columns(x).cumsum(0)[-1],
    "var": lambda x: x.var(),
    "std": lambda x: x.std(),
    "logsumexp": lambda x: x.logsumexp(0),
    "softmax": lambda x: x.softmax(0)[0] * N,
    "log_softmax": lambda x: x.log_softmax(0)[0],
    "softmax of columns": lambda x: columns(x).softmax(0)[0] * N,
    "mse_loss": lambda x: F.mse_loss(x, tw.zeros_like(x), reduction="sum"),
    "l1_loss": lambda x: F.l1_loss(x, tw.zeros_like(x)),
    "huber_loss": lambda x: F.huber_loss(x, tw.zeros_like(x)),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, tw.zeros_like(x)),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, tw.zeros_like(x)),
    "nll_loss": lambda x: F.nll_loss(-columns(x), labels()),
    "nll_loss, weighted": lambda x: F.nll_loss(
        -columns(x), labels(), weight=tw.full((3,), 0.3).to(x.dtype)
    ),
    "cross_entropy": lambda x: F.cross_entropy(columns(x), labels()),
    "cross_entropy of probabilities": lambda x: F.cross_entropy(
        columns(x), tw.full((N, 3), 0.3).to(x.dtype)
    ),
    "matmul": lambda x: x.reshape(1, N) @ x.reshape(N, 1),
    "batch_norm's mean": lambda x: F.batch_norm(
        x.reshape(N, 1), None, None, training=True
    )[0],
    "layer_norm's mean": lambda x: F.layer_norm(x, (N,))[0],
    "avg_pool": lambda x: F.adaptive_avg_pool2d(x.reshape(1, 1, 256, -1), 1),
}  # fmt: skip

# From x and a parameter p (3,) to N terms that read it: its gradient adds them.
GRADIENTS = {
    "index": lambda x, p: p[labels()] * x,
    "index of rows": lambda x, p: p.reshape(3, 1)[labels()][:, 0] * x,
    "index_select": lambda x, p: p.index_select(0, labels()) * x,
    "gather": lambda x, p: p.gather(0, labels()) * x,
    "expand": lambda x, p: p.expand(N, 3) * columns(x),
    "broadcast add": lambda x, p: (columns(x) * 1 + p) * columns(x),
    "broadcast mul": lambda x, p: columns(x) * p,
    "broadcast sub": lambda x, p: (p - columns(x)) * columns(x),
    "broadcast div": lambda x, p: columns(x) / p,
    "maximum": lambda x, p: tw.maximum(columns(x) * 0, p) * columns(x),
    "clamp": lambda x, p: (columns(x) * 0).clamp(min=p) * columns(x),
    "where": lambda x, p: tw.where(columns(x) < 0, columns(x), p) * columns(x),
    "linear bias": lambda x, p: F.linear(x.reshape(N, 1), p.reshape(3, 1).detach(), p) * columns(x),
    "linear weight": lambda x, p: F.linear(x.reshape(N, 1), p.reshape(3, 1)),
    "bias_activation": lambda x, p: F.bias_activation(columns(x) * 1, p, "relu") * columns(x),
    "layer_norm bias": lambda x, p: F.layer_norm(columns(x) * 1, (3,), None, p) * columns(x),
    "batch_norm bias": lambda x, p: F.batch_norm(
        columns(x), None, None, None, p, training=True
    ) * columns(x),
    "group_norm bias": lambda x, p: F.group_norm(
        columns(x).reshape(N // 2, 3, 2), 1, None, p
    ) * x.reshape(N // 2, 1, 2),
    "conv bias": lambda x, p: F.conv1d(
        x.reshape(1, 1, N), p.reshape(3, 1, 1).detach(), p
    ) * x.reshape(1, 1, N),
    "conv weight": lambda x, p: F.conv1d(x.reshape(1, 1, N), p.reshape(3, 1, 1)),
}  # fmt: skip


PRODUCTS = ("linear weight", "conv weight")


def numbers(dtype):
    """Mostly one number, whose rounding in a running sum always goes one way."""
    x = np.full(N, 0.1)
    x[::8] = np.random.default_rng(3).uniform(0.05, 0.15, N // 8)
    return tw.tensor(x).to(dtype)


def parameter(dtype):
    return tw.tensor([0.5, 0.75, 1.25]).to(dtype).requires_grad_()


def check(got, exact, dtype, what):
    """`got` within what a sum by lanes and pairs may be off; magnitudes are the sums themselves."""
    name = dtype.name
    expected = np.asarray(exact.detach().numpy(), np.float64)
    assert got.dtype == dtype, what
    length = growth(N) if what not in PRODUCTS else N / 16  # chains of a BLAS, lane by lane
    size = length * working_eps(name) * (np.abs(expected) + eps(name))
    # What the call itself rounds before it adds: each term, in the dtype.
    size = size + (4 * eps(name) * np.abs(expected) if name == "bfloat16" else 0)
    error = np.abs(got.detach().numpy().astype(np.float64) - expected)
    assert (error <= stored(name, expected, size)).all(), f"{what}: {got} and not {expected}"


ENGINES = [pytest.param(Target(name), id=name) for name in ("native", "numba")]


@pytest.mark.parametrize("dtype", [tw.bfloat16, tw.float32], ids=str)
@pytest.mark.parametrize("target", ENGINES)
@pytest.mark.parametrize("name", VALUES)
def test_values(name, target, dtype):
    if reason := target.refusal():
        pytest.skip(reason)
    with running_on(target), tw.no_grad():
        x = numbers(dtype)
        check(VALUES[name](x), VALUES[name](x.double()), dtype, name)


@pytest.mark.parametrize("dtype", [tw.bfloat16, tw.float32], ids=str)
@pytest.mark.parametrize("target", ENGINES)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name, target, dtype):
    if reason := target.refusal():
        pytest.skip(reason)
    with running_on(target):
        x, p = numbers(dtype), parameter(dtype)
        wide = p.detach().double().requires_grad_()
        for values, leaf in ((x, p), (x.double(), wide)):
            out = GRADIENTS[name](values, leaf)
            out.backward(tw.ones_like(out))
        check(p.grad, wide.grad, dtype, name)


@pytest.mark.parametrize("target", ENGINES)
def test_variance_about_a_large_mean(target):
    """The mean's own rounding is much beside small distances."""
    if reason := target.refusal():
        pytest.skip(reason)
    x = np.random.default_rng(4).normal(1e4, 0.05, (3, 20000)).astype(np.float32)
    exact = x.astype(np.float64).var(1, ddof=1)
    with running_on(target):
        got = tw.tensor(x).var(1).numpy()
    assert np.abs(got / exact - 1).max() <= growth(20000) * eps("float32")


CHOOSING = {
    "index": lambda p, i: p[i],
    "index of rows": lambda p, i: p.reshape(3, 1)[i][:, 0],
    "index_select": lambda p, i: p.index_select(0, i),
    "gather": lambda p, i: p.gather(0, i),
    "embedding": lambda p, i: F.embedding(i, p.reshape(3, 1))[:, 0],
}


@pytest.mark.parametrize("choose", CHOOSING.values(), ids=CHOOSING)
def test_short_chains_of_bfloat16_are_rounded_once(choose):
    x = (tw.rand(200) + 1).to(tw.bfloat16)
    p = tw.zeros(3, dtype=tw.bfloat16, requires_grad=True)
    choose(p, tw.zeros(200).long()).backward(x)
    total = x.double().sum().item()
    assert abs(p.grad[0].item() - total) <= 1.001 * eps("bfloat16") / 2 * total
