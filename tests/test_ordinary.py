"""Ordinary programs, each with PyTorch's answer."""

import copy
import importlib

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn

FLOATS = [tw.float32, tw.float64, tw.bfloat16]
PRODUCTS = [lambda x, w: x @ w.t(), F.linear]


def test_functional_imports_by_its_dotted_name():
    assert importlib.import_module("tilework.nn.functional") is F
    assert nn.functional is F


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: tw.stack([x, x]).sum(),
        lambda x: tw.stack([x, x * 2, x]).sum() + x,
        lambda x: tw.cat([x.view(1), x.view(1)]).sum() + x,
        lambda x: x * x,
        lambda x: x * x + x.exp() + x,
        lambda x: F.mse_loss(x, x * 3) + x,
        lambda x: tw.where(x > 0, x, -x) + x.sum() + x.unsqueeze(0).relu().sum(),
    ],
)
@pytest.mark.parametrize("leaf", [False, True])
def test_results_without_axes_add_their_gradients_up(function, dtype, leaf):
    value, step = 0.5, 1e-4
    at = [function(tw.tensor(v, dtype=tw.float64)).item() for v in (value + step, value - step)]
    x = tw.tensor(value, dtype=dtype, requires_grad=True)
    y = function(x if leaf else x * 1)
    y.backward()
    slope = (at[0] - at[1]) / (2 * step)
    epsilon = 2**-8 if dtype is tw.bfloat16 else 2**-20
    assert x.grad.shape == ()
    assert x.grad.dtype == dtype
    assert abs(x.grad.item() - slope) <= 8 * epsilon * max(1, abs(slope))


@pytest.mark.parametrize("dtype", FLOATS)
def test_results_without_axes_under_create_graph(dtype):
    x = tw.tensor(0.5, dtype=dtype, requires_grad=True)
    y = x * 1
    (slope,) = tw.autograd.grad(y * y + tw.stack([y, y]).sum(), x, create_graph=True)
    assert slope.item() == 3
    (slope * slope + x).backward()
    assert x.grad.item() == 13


def test_grad_of_one_result_given_twice():
    x = tw.tensor(2.0, requires_grad=True)
    y = x * x
    assert tw.autograd.grad([y, y], x)[0].item() == 8


def test_a_copied_model_begins_without_gradients():
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1))
    model[0](tw.ones(1, 2)).sum().backward()
    twin = copy.deepcopy(model)
    assert model[0].weight.grad is not None
    assert all(p.grad is None and p.requires_grad for p in twin.parameters())
    x = tw.ones(2, requires_grad=True)
    x.sum().backward()
    assert copy.deepcopy(x).grad.tolist() == [1, 1]  # a plain tensor keeps its own


def test_registering_replaces_nothing_of_another_kind():
    module = nn.Module()
    module.p = nn.Parameter(tw.ones(2))
    module.register_buffer("b", tw.zeros(2))
    module.child = nn.ReLU()
    for name in ("p", "child"):
        with pytest.raises(KeyError):
            module.register_buffer(name, tw.zeros(2))
    for name in ("b", "child"):
        with pytest.raises(KeyError):
            module.register_parameter(name, nn.Parameter(tw.ones(2)))
    for name in ("p", "b"):
        with pytest.raises(KeyError):
            module.add_module(name, nn.ReLU())
    assert [name for name, _ in module.named_parameters()] == ["p"]
    module.register_buffer("b", tw.ones(3), persistent=False)
    module.register_buffer("b", tw.ones(4))
    assert module.b.shape == (4,)


def test_children_come_once_and_are_saved_by_each_name():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    assert len(list(model.children())) == 2
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert repr(model).count("Linear") == 2
    calls = []
    model.apply(lambda m: calls.append(type(m).__name__))
    assert calls == ["Linear", "ReLU", "Sequential"]


@pytest.mark.parametrize("made", [tw.tensor, np.asarray])
def test_bytes_are_a_mask(made):
    mask = made(np.array([1, 0, 1, 0], np.uint8))
    x = tw.arange(8).view(4, 2).float().requires_grad_()
    y = x[mask]
    assert y.tolist() == [[0, 1], [4, 5]]
    y.sum().backward()
    assert x.grad.tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    z = tw.zeros(4)
    z[mask] = 5
    assert z.tolist() == [5, 0, 5, 0]
    with pytest.raises(IndexError):
        tw.zeros(3)[mask]


def test_an_empty_list_chooses_nothing():
    x = tw.ones(3, 2, requires_grad=True)
    assert x[[]].shape == (0, 2)
    assert x[:, []].shape == (3, 0)
    x[[]].sum().backward()
    assert x.grad.tolist() == [[0, 0]] * 3
    y = tw.ones(3)
    y[[]] = 4
    assert y.tolist() == [1, 1, 1]


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_a_product_with_a_frozen_side_does_not_read_may_be_written(product):
    weight = tw.tensor([[2.0, 3.0]])
    x = tw.ones(1, 2, requires_grad=True)
    y = x * 1
    out = product(y, weight)
    y.zero_()
    out.sum().backward()
    assert x.grad.tolist() == [[2, 3]]

    data, weight = tw.ones(1, 2), nn.Parameter(weight)
    out = product(data, weight)
    with tw.no_grad():
        weight.zero_()
    out.sum().backward()
    assert weight.grad.tolist() == [[1, 1]]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("frozen", ["x", "weight", None])
def test_what_a_product_reads_may_not_be_written(product, frozen):
    x = tw.ones(1, 2, requires_grad=frozen != "x")
    weight = tw.ones(3, 2, requires_grad=frozen != "weight")
    out = product(x, weight)
    with tw.no_grad():
        (weight if frozen == "weight" else x).zero_()
    with pytest.raises(RuntimeError, match="in-place"):
        out.sum().backward()


def test_backward_of_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"\[backward\]"):
        tw.autograd.backward([tw.ones(1, requires_grad=True)])


def test_a_number_prints_as_one_in_text():
    loss = tw.tensor(2.5, requires_grad=True)
    assert f"{loss} {loss:.2f} {tw.tensor(7)} {tw.tensor([1, 2])}" == "2.5 2.50 7 tensor([1, 2])"
    assert str(tw.tensor(7)) == "tensor(7)"


def test_masked_fill_is_in_c_order():
    x = tw.arange(6.0).view(2, 3).t().requires_grad_()
    y = x.masked_fill(x > 4, 9)
    assert y.view(-1).tolist() == [0, 3, 1, 4, 2, 9]
    y.view(-1)[1:].sum().backward()
    assert x.grad.tolist() == [[0, 1], [1, 1], [1, 0]]


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_one_value_with_axes_is_written_to_one_element(shape):
    x = tw.tensor(3.0, requires_grad=True)
    out = tw.zeros(3, 2)
    out[0, 1] = (x * 2).view(shape)
    row = tw.zeros(3)
    row[1] = (x * x).view(shape)
    row[2] = row[1].view(shape) + 1
    assert out.tolist() == [[0, 6], [0, 0], [0, 0]]
    assert row.tolist() == [0, 9, 10]
    (out.sum() + row.sum()).backward()
    assert x.grad.item() == 2 + 2 * 6
    with pytest.raises(ValueError, match=r"\[setitem\]"):
        out[0, 1] = tw.ones(2)


def test_a_gradient_can_be_deleted():
    x = tw.ones(2, requires_grad=True)
    x.sum().backward()
    del x.grad
    assert x.grad is None


def test_set_grad_enabled_takes_its_mode_by_name():
    with tw.set_grad_enabled(mode=False):
        assert not tw.is_grad_enabled()
    assert tw.is_grad_enabled()


def test_lengths_and_axes_by_name():
    x = tw.arange(6).view(size=(2, 3))
    assert tw.permute(x, dims=(1, 0)).tolist() == x.permute(dims=[1, 0]).tolist() == x.t().tolist()
    assert tw.reshape(x, shape=(3, 2)).shape == x.reshape(shape=(-1, 2)).shape == (3, 2)
    assert x.expand(size=(2, 2, 3)).shape == (2, 2, 3)
    with pytest.raises(TypeError, match=r"\[permute\]"):
        x.permute(axes=(1, 0))
    with pytest.raises(ValueError, match=r"\[permute\]"):
        x.permute(dims=(0, 0))
