"""Hooks that see gradients, of tensors and of modules: PyTorch's calls and values."""

import copy

import pytest

import tilework as tw
from tilework import nn


def leaf(*values):
    return tw.tensor(values, dtype=tw.float64, requires_grad=True)


# --- tensors ---


def test_a_hook_sees_the_whole_gradient_and_may_change_it():
    x, seen = leaf(1.0, -2.0), []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 10)
    y.retain_grad()
    (y * 3 + y * x).sum().backward()
    assert seen == [[4.0, 1.0]]
    assert y.grad.tolist() == [4.0, 1.0]
    assert x.grad.tolist() == [100.0, -20.0]


def test_retain_grad_keeps_what_the_hooks_left():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.retain_grad()
    y.sum().backward()
    assert y.grad.tolist() == [5.0]
    assert x.grad.tolist() == [10.0]


def test_hooks_follow_each_other_until_they_are_removed():
    x = leaf(1.0)
    first = x.register_hook(lambda g: g + 1)
    with x.register_hook(lambda g: g * 10):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [30.0]
    first.remove()
    first.remove()
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0]


def test_grad_gives_what_hooks_left():
    x = leaf(1.0, -2.0)
    y = x * 2
    x.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    dx, dy = tw.autograd.grad((y * y).sum(), (x, y), retain_graph=True)
    assert dy.tolist() == [5.0, -7.0]
    assert dx.tolist() == [100.0, -140.0]
    (dy,) = tw.autograd.grad((y * y).sum(), y)
    assert dy.tolist() == [5.0, -7.0]


def test_hooks_are_recorded_with_create_graph():
    x = leaf(1.0, -2.0)
    x.register_hook(lambda g: g * 2)
    (slope,) = tw.autograd.grad((x**3).sum(), x, create_graph=True)
    (bend,) = tw.autograd.grad(slope.sum(), x)
    assert slope.tolist() == [6.0, 24.0]
    assert bend.tolist() == [24.0, -48.0]  # the hook twice
    (x**2).sum().backward(create_graph=True)
    assert x.grad.tolist() == [4.0, -8.0]


def test_views_of_a_leaf_send_their_parts_to_one_hook():
    x, calls = leaf(1.0, -2.0), []
    x.register_hook(lambda g: (calls.append(1), g * 2)[1])
    first, second = x[0], x[1]
    (first * 3 + second * second).backward()
    assert x.grad.tolist() == [6.0, -8.0]
    assert calls == [1]


def test_a_hook_stays_with_what_was_before_a_write():
    x, seen = leaf(1.0, -2.0), []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.mul_(3)
    (y * y).sum().backward()
    assert seen == [[36.0, -72.0]]
    assert x.grad.tolist() == [72.0, -144.0]


def test_a_kept_gradient_is_not_written():
    x, seen = leaf(1.0, 2.0), []
    y = x * 1
    y.register_hook(lambda g: seen.append(g))
    y[0] = 5.0
    (y * y + y).sum().backward()
    before = [g.tolist() for g in seen]
    x.grad.zero_()
    assert [g.tolist() for g in seen] == before


def test_a_hook_after_a_leaf_has_received_its_gradient():
    x, seen = leaf(1.0), []
    handle = x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x + x).sum().backward()
    x.sum().backward()
    assert seen == [2.0, 3.0]
    handle.remove()
    x.sum().backward()
    assert len(seen) == 2


def test_an_optimiser_may_step_within_backward():
    layer = nn.Linear(2, 1)
    steps = {p: tw.optim.SGD([p], lr=0.1) for p in layer.parameters()}

    def step(p):
        steps[p].step()
        p.grad = None

    for p in layer.parameters():
        p.register_post_accumulate_grad_hook(step)
    before = layer.bias.item()
    layer(tw.ones(1, 2)).sum().backward()
    assert layer.bias.grad is None
    assert layer.bias.item() == pytest.approx(before - 0.1)


def test_refusals():
    with pytest.raises(RuntimeError, match=r"^\[register_hook\] expected a tensor that requires"):
        tw.ones(1).register_hook(print)
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"^\[register_post_accumulate_grad_hook\] .* a leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match=r"^\[register_hook\] expected a hook that returns None"):
        (x * 2).sum().backward()


def test_what_goes_wrong_in_a_hook_comes_out_as_it_is():
    x = leaf(1.0)
    x.register_hook(lambda g: {}["mine"])
    with pytest.raises(KeyError, match="mine"):
        (x * 2).sum().backward()


# --- modules ---


def network():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with tw.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(tw.arange(p.numel()).double().reshape(p.shape) * 0.1 + i)
    return model


def numbers(gradients):
    return [None if g is None else g.tolist() for g in gradients]


def rounded(gradients):
    return [g and [[round(v, 9) for v in row] for row in g] for g in numbers(gradients)]


def test_a_module_tells_what_came_and_what_goes():
    model, seen = network(), []
    handle = model[0].register_full_backward_hook(
        lambda module, gone, came: seen.append((type(module), rounded(gone), rounded(came)))
    )
    x = tw.tensor([[1.0, 2.0]], dtype=tw.float64)
    model(x).sum().backward()
    assert seen.pop() == (nn.Linear, [None], [[[2.0, 2.1, 2.2]]])
    x.requires_grad_()
    model(x).sum().backward()
    assert seen.pop() == (nn.Linear, [[[1.3, 1.93]]], [[[2.0, 2.1, 2.2]]])
    handle.remove()
    model(x).sum().backward()
    assert not seen


def test_a_module_s_hooks_may_change_both():
    model, x = network(), leaf(1.0, 2.0).reshape(1, 2).detach().requires_grad_()
    plain = tw.autograd.grad(model(x).sum(), x)[0]
    weight = tw.autograd.grad(model(x).sum(), model[2].weight)[0]
    model[2].register_full_backward_hook(lambda module, gone, came: (gone[0] * 10,))
    model[2].register_full_backward_pre_hook(lambda module, came: (came[0] * 2,))
    model(x).sum().backward()
    assert tw.allclose(x.grad, plain * 20)
    assert tw.allclose(model[2].weight.grad, weight * 2)


def test_hooks_in_their_order_and_before():
    model, calls = network(), []
    for name, first in (("b", False), ("c", False), ("a", True)):
        model.register_full_backward_hook(lambda *_, name=name: calls.append(name), prepend=first)
    model(tw.ones(1, 2).double()).sum().backward()
    assert calls == ["a", "b", "c"]


def test_arguments_that_are_no_tensors_and_several_results():
    class Both(nn.Module):
        def forward(self, a, scale, b):
            return a * scale, a + b

    seen, module = [], Both()
    module.register_full_backward_hook(
        lambda module, gone, came: seen.append((numbers(gone), numbers(came)))
    )
    module(leaf(1.0), 3.0, tw.ones(1).double())[0].sum().backward()
    assert seen == [([[3.0], None, [0.0]], [[1.0], None])]


def test_a_copied_module_has_hooks_of_its_own():
    model, calls = network(), []
    model.register_full_backward_hook(lambda *_: calls.append(1))
    other = copy.copy(model)
    other.register_full_backward_hook(lambda *_: calls.append(2))
    model(tw.ones(1, 2).double()).sum().backward()
    assert calls == [1]
