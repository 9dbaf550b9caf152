"""utils.checkpoint: the gradients of the call itself, with less kept."""

import gc

import numpy as np
import pytest

import tilework as tw
from tilework import nn
from tilework.utils.checkpoint import checkpoint, checkpoint_sequential


def block(width=6, dropout=0.0):
    tw.manual_seed(3)
    return nn.Sequential(
        nn.Linear(width, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, width)
    ).double()


def gradients(call, module, x):
    for p in module.parameters():
        p.grad = None
    x.grad = None
    tw.manual_seed(7)
    y = call(module, x)
    (y * y).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_those_of_the_call(dropout):
    module, x = block(dropout=dropout), tw.randn(4, 6).double().requires_grad_()
    plain = gradients(lambda m, x: m(x), module, x)
    for call in (
        lambda m, x: checkpoint(m, x, use_reentrant=False),
        lambda m, x: checkpoint(lambda x: m(x), x),
    ):
        for a, b in zip(gradients(call, module, x), plain, strict=True):
            assert tw.equal(a, b)


def test_random_numbers_go_on_where_they_were():
    module, x = block(dropout=0.5), tw.ones(4, 6).double().requires_grad_()
    tw.manual_seed(1)
    module(x)
    after = tw.get_rng_state()
    tw.manual_seed(1)
    y = checkpoint(module, x)
    assert tw.equal(tw.get_rng_state(), after)
    y.sum().backward()
    assert tw.equal(tw.get_rng_state(), after)


def test_parameters_have_gradients_where_the_input_wants_none():
    module, x = block(), tw.randn(4, 6).double()
    checkpoint(module, x).sum().backward()
    found = [p.grad for p in module.parameters()]
    for p in module.parameters():
        p.grad = None
    module(x).sum().backward()
    for a, p in zip(found, module.parameters(), strict=True):
        assert tw.equal(a, p.grad)


def test_several_results_some_of_no_gradient_and_plain_arguments():
    def both(x, factor, mask=None):
        return x * factor, (x > 0), x.exp() * mask

    x = tw.tensor([1.0, -2.0], dtype=tw.float64, requires_grad=True)
    product, positive, grown = checkpoint(both, x, 3.0, mask=tw.tensor([1.0, 0.0]).double())
    assert not positive.requires_grad
    (product.sum() + grown.sum()).backward()
    assert np.allclose(x.grad.numpy(), [3 + np.e, 3])
    x.grad = None
    checkpoint(both, x, 3.0, mask=tw.ones(2).double())[0].sum().backward()  # the other's is None
    assert x.grad.tolist() == [3.0, 3.0]


def test_what_is_between_is_not_kept():
    def held(call):
        x = tw.randn(64, 64).requires_grad_()
        y = call(lambda x: ((x.exp() * 2).tanh() * 3).exp(), x)
        gc.collect()
        return y is not None and sum(o.nbytes for o in gc.get_objects() if type(o) is tw.Tensor)

    assert held(checkpoint) <= held(lambda f, x: f(x)) - 3 * 64 * 64 * 4


@pytest.mark.parametrize("segments", [1, 2, 3, 4])
def test_layers_in_segments(segments):
    module, x = block(), tw.randn(4, 6).double().requires_grad_()
    plain = gradients(lambda m, x: m(x), module, x)
    found = gradients(lambda m, x: checkpoint_sequential(m, segments, x), module, x)
    for a, b in zip(found, plain, strict=True):
        assert tw.equal(a, b)


def test_autocast_is_that_of_the_call():
    layer, x, seen = nn.Linear(3, 3), tw.randn(2, 3), []

    def call(x):
        y = layer(x)
        seen.append(y.dtype)
        return y.float()

    with tw.autocast("cpu"):
        y = checkpoint(call, x)
    y.sum().backward()
    assert seen == [tw.bfloat16, tw.bfloat16]


def test_refusals():
    module, x = block(), tw.ones(1, 6).double().requires_grad_()
    with pytest.raises(RuntimeError, match=r"^\[checkpoint\] expected a backward without create"):
        checkpoint(module, x).sum().backward(create_graph=True)
    with pytest.raises(ValueError, match=r"^\[checkpoint_sequential\] expected 1 to 4 segments"):
        checkpoint_sequential(module, 5, x)
    with tw.no_grad():
        assert not checkpoint(module, x).requires_grad
