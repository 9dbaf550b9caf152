"""Random programs of views, reads and writes, beside PyTorch: values, gradients, refusals."""

import random

import numpy as np
import pytest

import tilework as tw

torch = pytest.importorskip("torch", reason="PyTorch is not installed here")

X = np.random.default_rng(0).normal(size=(3, 4))
W = np.array([0.5, -1.5, 2.0, 0.8])
PROGRAMS = 1500
# It looks at a view of what came to the tape since before it has renewed it, and takes it for a
# leaf: an accident of its bookkeeping.
ACCIDENT = "a leaf Variable that requires grad is being used in an in-place operation"


def view(rng, t):
    """A view of t, of a random kind."""
    ways = [lambda: t.flatten(), lambda: t.view(-1) if t.is_contiguous() else t[...]]
    if t.ndim:
        d, e = rng.randrange(t.ndim), rng.randrange(t.ndim)
        n = t.shape[d]
        start = rng.randrange(n)
        stop = rng.randrange(start + 1, n + 1)
        before = (slice(None),) * d
        ways += [
            lambda: t[(*before, slice(start, stop))],
            lambda: t[(*before, slice(None, None, 2))],
            lambda: t[(*before, start)],
            lambda: t.unsqueeze(d),
            lambda: t.transpose(d, e),
            lambda: t.narrow(d, start, stop - start),
        ]
    return rng.choice(ways)()


def read(rng, t, w):
    """A scalar made of t."""
    ways = [
        lambda: (t * t).sum(), lambda: (t * 2).sum(), lambda: t.sum() * w[0],
        lambda: (t + 1).clone().sum(), lambda: t.exp().sum(),
    ]  # fmt: skip
    return rng.choice(ways)()


def write(rng, t, other, w):
    """Writes to t in a random way."""
    i = rng.randrange(4)

    def set_all():
        t[...] = w[i] * 3

    def set_row():
        if t.ndim:
            t[0] = t[-1].clone() * w[1]

    def set_masked():
        t[t.detach() > 0.7] = 0.25

    ways = [
        lambda: t.add_(2.5), lambda: t.mul_(-2), lambda: t.mul_(w[i]), lambda: t.div_(w[i]),
        lambda: t.copy_(other.sum() * 0.25), lambda: t.add_(other.clone().mean()),
        lambda: t.clamp_(-0.5, 0.83), lambda: t.neg_(), set_all, set_row, set_masked,
    ]  # fmt: skip
    rng.choice(ways)()


def program(package, seed, x, w):
    """The sum of what a random program reads on its way and of all that it leaves."""
    rng = random.Random(seed)
    known, total = [x * 1.5], w.sum()
    if rng.random() < 0.4:
        known.append(package.zeros(3, 4, dtype=x.dtype))
    for _ in range(rng.randrange(3, 12)):
        t, kind = rng.choice(known), rng.random()
        if kind < 0.4:
            known.append(view(rng, t))
        elif kind < 0.55:
            total = total + read(rng, t, w)
        else:
            write(rng, t, rng.choice(known), w)
    for i, t in enumerate(known):
        total = total + t.sum() * (i + 1)
    return total


def outcome(package, seed):
    x, w = (package.tensor(a, requires_grad=True) for a in (X, W))
    try:
        total = program(package, seed, x, w)
        total.backward()
    except RuntimeError as reason:
        return str(reason)
    grads = [np.zeros_like(a) if t.grad is None else t.grad.numpy() for t, a in ((x, X), (w, W))]
    return [total.item(), *grads]


@pytest.mark.parametrize("first", range(0, PROGRAMS, 100))
def test_random_programs(first):
    for seed in range(first, first + 100):
        wanted, found = outcome(torch, seed), outcome(tw, seed)
        if isinstance(wanted, str):
            assert isinstance(found, str) or ACCIDENT in wanted, f"{seed}: PyTorch says {wanted}"
            continue
        assert not isinstance(found, str), f"{seed}: {found}"
        for a, b in zip(found, wanted, strict=True):
            # A dozen steps, each of a rounding, on numbers that a few of them multiply.
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(b).max(), err_msg=seed)
