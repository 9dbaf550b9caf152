"""Several threads that go backward at once, into the same leaves and over the same graphs."""

import sys
import threading

import numpy as np
import pytest

import tilework as tw


@pytest.fixture(autouse=True)
def switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work, threads=4):
    """Runs work(number) in so many threads, and raises what one of them raised."""
    failed = []

    def run(number):
        try:
            work(number)
        except BaseException as reason:
            failed.append(reason)

    started = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for t in started:
        t.start()
    for t in started:
        t.join()
    if failed:
        raise failed[0]


# Kernels let other threads run where an array is large: additions can meet.
N = 400

# What a thread adds to the gradient of w (N, N): one to each element, in all.
WAYS = {
    "product": lambda w: (tw.ones(1, N) @ w).sum().backward(),
    "sum": lambda w: w.sum().backward(),
    "rows": lambda w: tw.stack([w[i] for i in range(N)]).sum().backward(),
    "leaf": lambda w: w.backward(tw.ones(N, N)),
    "two uses": lambda w: (w * 0.5 + w.t() * 0.5).sum().backward(),
    "seen": lambda w: (w.sum().backward(), w.grad),
    "on the tape": lambda w: (w * 1).sum().backward(create_graph=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_addition_is_lost(way):
    rounds = 8
    w = tw.zeros(N, N, requires_grad=True)
    for start in range(3):  # the first gradient of all is the race of its own
        w.grad = None
        at_once(lambda _: [WAYS[way](w) for _ in range(rounds)])
        assert (w.grad.numpy() == 4 * rounds).all(), start


def test_first_gradients_meet():
    for _ in range(300):
        w = tw.zeros(3, requires_grad=True)
        at_once(lambda _, w=w: (w * 1).sum().backward(), threads=3)
        assert w.grad.tolist() == [3, 3, 3]


def test_ways_mix():
    w = tw.zeros(N, N, requires_grad=True)
    ways = [f for name, f in WAYS.items() if name != "seen"]
    at_once(lambda i: [f(w) for f in (ways[i:] + ways[:i]) * 3])
    assert np.allclose(w.grad.numpy(), 4 * 3 * len(ways), rtol=1e-6)


def test_a_graph_is_shared():
    """A trunk is walked by all threads, with what was written in place on it."""
    w = tw.ones(30, requires_grad=True)
    for _ in range(30):
        w.grad = None
        trunk = w * 2
        rows = trunk.view(5, 6)
        for i in range(1, 5):
            rows[i] = rows[i - 1] + trunk[6 * i : 6 * i + 6].clone()
        heads = [(trunk * (i + 1)).sum() + rows[i].sum() for i in range(4)]
        at_once(lambda i, heads=heads: heads[i].backward(retain_graph=True))
        together = w.grad.numpy().copy()
        w.grad = None
        for head in heads:
            head.backward(retain_graph=True)
        np.testing.assert_array_equal(together, w.grad.numpy())


def test_retained_gradients_add_up():
    w = tw.ones(8, requires_grad=True)
    hidden = w * 2
    hidden.retain_grad()
    at_once(lambda _: [hidden.sum().backward(retain_graph=True) for _ in range(50)])
    assert hidden.grad.tolist() == [200] * 8
    assert w.grad.tolist() == [400] * 8
