"""Every family once, small: for machines where the whole suite is too slow, such as an emulator."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn, optim
from tilework.testing.tolerance import eps, growth

RNG = np.random.default_rng(0)
X = RNG.standard_normal((19, 33)).astype(np.float32)
W = RNG.standard_normal((21, 33)).astype(np.float32)


def close(actual, expected, magnitude=1.0, length=1):
    assert np.all(np.abs(actual.numpy() - expected) <= growth(length) * eps("float32") * magnitude)


def test_products():
    wide = X.astype(np.float64), W.astype(np.float64)
    magnitude = np.abs(wide[0]) @ np.abs(wide[1]).T
    close(F.linear(tw.tensor(X), tw.tensor(W)), wide[0] @ wide[1].T, magnitude, 33)


def test_pointwise_softmax_and_reductions():
    x, wide = tw.tensor(X), X.astype(np.float64)
    close(F.relu(x), np.maximum(wide, 0.0))
    close(x.exp(), np.exp(wide), 2 * np.exp(wide))
    p = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    close(F.softmax(x, dim=1), p, 4 * p, 33)
    close(x.sum(dim=0), wide.sum(0), np.abs(wide).sum(0), 19)


def test_random_numbers_are_the_seeds_own():
    tw.manual_seed(3)
    first = tw.rand(5).tolist(), tw.randn(5).tolist(), F.dropout(tw.ones(50)).tolist()
    tw.manual_seed(3)
    assert first == (tw.rand(5).tolist(), tw.randn(5).tolist(), F.dropout(tw.ones(50)).tolist())


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_network_learns(optimizer):
    tw.manual_seed(0)
    model = nn.Sequential(nn.Linear(33, 16), nn.GELU(), nn.Linear(16, 3))
    steps = optimizer(model.parameters(), lr=0.05)
    labels = tw.tensor(X[:, :3].argmax(1))
    losses = []
    for _ in range(60):
        steps.zero_grad()
        loss = F.cross_entropy(model(tw.tensor(X)), labels)
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
