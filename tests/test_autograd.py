"""The tape: what is recorded, what backward leaves behind, and what it refuses."""

import gc
import threading
import weakref

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F


def leaf(*values):
    return tw.tensor(values, dtype=tw.float64, requires_grad=True)


def finite_difference(function, x, eps=1e-6):
    """The gradient of a scalar function of an array, by central differences."""
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = eps
        grad[i] = (function(x + step) - function(x - step)) / (2 * eps)
    return grad


# --- checks ---


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: F.linear(tw.ones(2, 3), tw.ones(4, 5)), ValueError, r"\(\.\.\., K=5\)"),
        (lambda: F.linear(tw.ones(2, 3), tw.ones(4, 3), tw.ones(3)), ValueError, r"bias \(4,\)"),
        (lambda: F.linear(tw.ones(3), tw.ones(4, 3).double()), TypeError, "one float dtype"),
        (lambda: F.linear(np.ones(3), tw.ones(4, 3)), TypeError, "Tensors for input"),
        (lambda: F.linear(tw.ones(3), tw.ones(4, 3), activation="elu"), ValueError, "'elu'"),
        (lambda: F.bias_activation(tw.ones(2, 3), tw.ones(2)), ValueError, r"bias \(3,\)"),
        (lambda: F.glu(tw.ones(2, 3)), ValueError, r"\[glu\].*even length along dim 1"),
        (lambda: F.swiglu(tw.ones(2, 4), tw.ones(4)), ValueError, r"other of .*shape \(2, 4\)"),
        (lambda: F.geglu(tw.ones(2), tw.ones(2).double()), TypeError, "input's dtype"),
        (lambda: F.geglu(tw.ones(2), approximate="erf"), ValueError, "'erf'"),
        (lambda: F.swiglu(tw.tensor([1, 2])), TypeError, "float dtype"),
        (lambda: F.layer_norm(tw.ones(2, 3), 3, residual=tw.ones(3)), ValueError, "residual"),
        (lambda: tw.ones(2, 3) @ tw.ones(2, 3), ValueError, r"K=3"),
        (lambda: tw.ones(2, 2, 3) @ tw.ones(3, 3, 1), ValueError, "leading axes"),
        (lambda: tw.ones(2) + tw.ones(3), ValueError, r"\[add\].*broadcast"),
        (lambda: tw.ones(2).sum(2), IndexError, r"\[sum\] expected dim between -2 and 1|-1 and 0"),
        (lambda: tw.ones(0).max(), ValueError, "at least one element"),
        (lambda: tw.tensor([1]).mean(), TypeError, r"\[mean\].*float"),
        (lambda: F.softmax(tw.tensor([1]), 0), TypeError, "float dtype"),
        (lambda: F.cross_entropy(tw.ones(2, 3), tw.tensor([0, 3])), ValueError, r"\[0, 3\)"),
        (lambda: F.cross_entropy(tw.ones(2, 3), tw.tensor([0])), ValueError, r"target \(2,\)"),
        (lambda: F.dropout(tw.ones(1), 1.5), ValueError, r"p in \[0, 1\]"),
        (lambda: F.mse_loss(tw.ones(1), tw.ones(1), "avg"), ValueError, '"mean"'),
        (lambda: tw.ones(4).reshape(3), ValueError, r"4 elements"),
        (lambda: tw.ones(2, 3).t().view(6), ValueError, "use reshape"),
        (lambda: tw.cat([tw.ones(1, 2), tw.ones(1, 3)]), ValueError, r"\(1, 2\), \(1, 3\)"),
        (lambda: tw.tensor([[1], [1, 2]]), ValueError, "rectangular"),
        (lambda: tw.zeros(1, device="tpu"), RuntimeError, "'cpu' or 'cuda'"),
    ],
)  # fmt: skip
def test_bad_input_names_the_op_and_the_remedy(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# --- accumulation ---


def test_gradients_add_up_over_uses_and_over_passes():
    x = leaf(1.0, 2.0)
    (x * 3 + x).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]
    x.sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


@pytest.mark.parametrize("dtype", [tw.bfloat16, tw.float32])
def test_a_result_that_is_used_three_times(dtype):
    x = tw.ones(3, dtype=dtype, requires_grad=True)
    y = x * 2
    (y * 1 + y * 2 + y * 3).sum().backward()
    assert x.grad.dtype == dtype
    assert x.grad.tolist() == [12, 12, 12]


def test_gradients_add_up_in_place_as_in_pytorch():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    seen, version = x.grad, x.grad._version
    part = seen[1:]
    x.sum().backward()
    assert x.grad is seen
    assert part.tolist() == [2.0]
    assert seen._version > version
    x.grad = tw.ones(1, dtype=tw.float64).expand(2)  # no memory of its own to add to
    x[1].backward()
    x.sum().backward()
    assert x.grad.tolist() == [2.0, 3.0]


def test_gradients_of_two_leaves_are_never_one_array():
    a, b = leaf(1.0), leaf(2.0)
    seed = tw.ones(1, dtype=tw.float64)
    (a + b).backward(seed)
    a.grad.mul_(7)
    assert b.grad.tolist() == [1.0]
    assert seed.tolist() == [1.0]
    c = leaf(1.0, 2.0)
    c.reshape(2, 1).backward(tw.ones(2, 1, dtype=tw.float64))
    assert c.grad._array.base is None


def test_a_diamond_is_walked_once_a_node():
    x = leaf(2.0)
    y = x
    for _ in range(40):
        y = y + y  # 2^40 paths
    y.sum().backward()
    assert x.grad.tolist() == [2.0**40]


def test_a_long_chain_needs_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + 1
    y.sum().backward()
    assert x.grad.tolist() == [1.0]


def test_retain_grad_and_leaves():
    x = leaf(3.0)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [12.0]
    assert x.is_leaf
    assert not y.is_leaf
    plain = x * 2
    plain.sum().backward()
    assert plain.grad is None


def test_leaves_share_no_gradient_on_the_tape():
    a, b, given = leaf(1.0), leaf(1.0), tw.ones(1, dtype=tw.float64)
    (a + b).backward(given, create_graph=True)
    (a * 2).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist(), given.tolist()) == ([3.0], [1.0], [1.0])


def test_a_seed_on_the_tape_is_of_the_result_s_dtype_and_nobody_else_s():
    x = tw.tensor(3.0, requires_grad=True)
    (dx,) = tw.autograd.grad(x + 0, x, create_graph=True)
    dx.mul_(5)
    (dx,) = tw.autograd.grad(x + 0, x)
    assert dx.item() == 1.0
    (dx,) = tw.autograd.grad(x * x, x, tw.tensor(1.0, dtype=tw.float64), create_graph=True)
    assert (dx.item(), dx.dtype) == (6.0, tw.float32)


@pytest.mark.parametrize("step", [tw.floor, tw.ceil, tw.round, tw.sign])
def test_steps_pass_zeros_on(step):
    x = leaf(0.5, -1.5)
    y = step(x)
    assert y.grad_fn == step.__name__
    (y * x).sum().backward(create_graph=True)
    assert x.grad.tolist() == y.tolist()
    (dx,) = tw.autograd.grad(step(x).sum(), x)
    assert dx.tolist() == [0.0, 0.0]


# --- memory ---


def test_the_gradient_of_a_slice_lies_as_its_input():
    x = np.ones((2, 8, 8, 3), np.float32).transpose(0, 3, 1, 2)  # channels last
    image = tw.tensor(x, requires_grad=True)
    image[:, :, ::2, ::2].sum().backward()
    grad = image.grad._array  # numpy() would bring it into C order
    assert grad.strides == x.strides
    assert grad[:, :, ::2, ::2].all()
    assert grad.sum() == x[:, :, ::2, ::2].size


def test_backward_frees_the_graph_without_the_collector():
    gc.disable()
    try:
        x = leaf(*range(10))
        hidden = (x * 2).exp()
        gone = weakref.ref(hidden)
        loss = hidden.sum()
        del hidden
        assert gone() is not None
        loss.backward()
        assert gone() is None
    finally:
        gc.enable()


def test_dropping_the_result_frees_the_graph_without_the_collector():
    gc.disable()
    try:
        x = leaf(*range(10))
        hidden = x.exp()
        gone = weakref.ref(hidden)
        loss = hidden.sum()
        del hidden, loss
        assert gone() is None
    finally:
        gc.enable()


# --- refusals ---


def test_a_consumed_graph_is_refused_and_a_retained_one_serves():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0]
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_backward_refuses_what_has_no_gradient():
    with pytest.raises(RuntimeError, match="requires grad"):
        tw.ones(1).sum().backward()
    with pytest.raises(RuntimeError, match="one element"):
        leaf(1.0, 2.0).exp().backward()
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        leaf(1.0, 2.0).exp().backward(tw.ones(3))
    with pytest.raises(RuntimeError, match="float tensor"):
        tw.tensor([1], requires_grad=True)


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.detach().zero_(),
        lambda x: x[0:1].fill_(3),
        lambda x: x.__setitem__(0, 5.0),
    ],
)
@pytest.mark.parametrize(
    "op",
    [
        lambda x, w: x * w,
        lambda x, w: w / x,
        lambda x, w: F.linear(x, w),
        lambda x, w: w @ x.reshape(2, 1),
        lambda x, w: F.mse_loss(x.reshape(1, 2), w),
    ],
)
def test_writing_to_a_saved_tensor_is_found_out(op, write):
    w = tw.ones(1, 2, requires_grad=True)
    x = tw.ones(2)
    y = op(x, w).sum()
    write(x)
    with pytest.raises(RuntimeError, match="in-place operation has modified"):
        y.backward()


@pytest.mark.parametrize("function", [tw.exp, tw.tanh, lambda x: F.softmax(x, 0), tw.sigmoid])
def test_writing_to_a_saved_result_is_found_out(function):
    y = function(leaf(0.5, 1.0))
    z = (y * 2).sum()
    with tw.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="in-place operation has modified"):
        z.backward()


def test_writing_to_what_nobody_saved_is_allowed():
    x, w = leaf(1.0, 2.0), tw.ones(2, dtype=tw.float64)
    y = (x + w).sum() + (x * 2).sum()
    w.zero_()
    y.backward()
    assert x.grad.tolist() == [3.0, 3.0]


# --- in place, recorded ---


def test_an_op_before_an_in_place_op_sees_the_old_tensor():
    x = leaf(1.0, 2.0)
    y = x * 2
    before = y * 3
    y.mul_(x)  # 2x^2
    (before + y).sum().backward()
    assert x.grad.tolist() == [6.0 + 4.0, 6.0 + 8.0]


def test_assignment_passes_gradients_to_both_sides():
    x, v = leaf(1.0, 2.0, 3.0), leaf(5.0)
    y = x * 1
    y[1:] = v
    (y * tw.tensor([1.0, 10.0, 100.0], dtype=tw.float64)).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 0.0]
    assert v.grad.tolist() == [110.0]


def test_a_broadcast_write_sums_its_gradient():
    w = leaf(3.0)
    y = tw.zeros(2, 2, dtype=tw.float64)
    y.copy_(w)
    (y * 2).sum().backward()
    assert w.grad.tolist() == [8.0]


def test_in_place_on_leaves_and_barred_views_is_refused():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="leaf that requires grad"):
        x.add_(1)
    with tw.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0]
    y = x * 2
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0:1].add_(1)
    with tw.no_grad():
        hidden = y[0:1]
    with pytest.raises(RuntimeError, match="made under no_grad"):
        hidden.mul_(2)
    assert y.tolist() == [4.0]


def test_writing_through_a_view_reaches_its_base():
    x, w = leaf(1.0, 2.0, 3.0, 4.0), leaf(5.0, 6.0)
    y = x * 2
    early = y * 10
    view = y.view(2, 2).t()[0]  # elements 0 and 2
    view.mul_(w)
    assert y.tolist() == [10.0, 4.0, 36.0, 8.0]
    (early.sum() + (y * tw.tensor([1.0, 2.0, 3.0, 4.0])).sum() + view.sum()).backward()
    assert x.grad.tolist() == [20 + 2 * 5 * 2, 20 + 2 * 2, 20 + 2 * 6 * 4, 20 + 2 * 4]
    assert w.grad.tolist() == [2 * 1 * (1 + 1), 2 * 3 * (3 + 1)]


def test_augmented_assignment_to_an_index():
    x, w = leaf(1.0, 2.0), leaf(3.0)
    out = tw.zeros(3, 2, dtype=tw.float64)  # no gradient flows to it, until one is written
    for i in range(3):
        out[i] += x * (i + 1)
        out[i, 1] *= w[0]
    assert out.tolist() == [[1.0, 6.0], [2.0, 12.0], [3.0, 18.0]]
    out.sum().backward()
    assert x.grad.tolist() == [6.0, 18.0]
    assert w.grad.tolist() == [12.0]


def test_a_detached_view_assigned_to_its_own_place_cuts_the_gradient():
    x = leaf(1.0, 2.0)
    y = x * 3
    y[0:1] = y.detach().clone()[0:1]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 3.0]


def test_a_written_view_is_differentiated_twice():
    x = leaf(0.5, 1.5)
    y = x**3
    y.view(2, 1)[0].mul_(x[0])  # x0^4, x1^3
    (g,) = tw.autograd.grad(y.sum(), x, create_graph=True)
    g.sum().backward()
    assert x.grad.tolist() == [12 * 0.5**2, 6 * 1.5]


# --- modes ---


def test_no_grad_nests_decorates_and_is_per_thread():
    x = leaf(1.0)
    seen = []

    @tw.no_grad()
    def silent():
        with tw.enable_grad():
            inside = (x * 2).requires_grad
        return inside, (x * 2).requires_grad

    assert silent() == (True, False)
    with tw.no_grad():
        other = threading.Thread(target=lambda: seen.append(tw.is_grad_enabled()))
        other.start()
        other.join()
        assert not tw.is_grad_enabled()
    assert seen == [True]
    assert tw.is_grad_enabled()
    tw.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    tw.set_grad_enabled(True)
    with pytest.raises(ZeroDivisionError), tw.no_grad():
        raise ZeroDivisionError
    assert tw.is_grad_enabled()


def test_switches_decorate_without_brackets():
    x = leaf(1.0)

    @tw.no_grad
    def silent(a, *, b):
        """What it does."""
        return (x * a * b).requires_grad

    @tw.enable_grad
    def loud():
        return (x * 2).requires_grad

    assert silent(2, b=3) is False
    assert silent.__doc__ == "What it does."
    with tw.no_grad():
        assert loud() is True
    with tw.enable_grad(), tw.no_grad():
        assert not (x * 2).requires_grad


@pytest.mark.parametrize("decorate", [tw.no_grad, tw.no_grad()])
def test_switches_refuse_generators(decorate):
    def batches():
        yield 1

    with pytest.raises(TypeError, match=r"\[no_grad\] expected .* generator .*with tilework"):
        decorate(batches)


# --- autograd.grad ---


def test_grad_leaves_attributes_alone_and_takes_non_leaves():
    x = leaf(2.0)
    y = x * x
    z = (y * 3).sum()
    gy, gx = tw.autograd.grad(z, [y, x])
    assert (gy.tolist(), gx.tolist()) == ([3.0], [12.0])
    assert x.grad is None
    with pytest.raises(RuntimeError, match="allow_unused"):
        tw.autograd.grad((x * 2).sum(), leaf(1.0))
    assert tw.autograd.grad((x * 2).sum(), leaf(1.0), allow_unused=True) == (None,)
    unused = tw.ones(2, requires_grad=True)
    (zeros,) = tw.autograd.grad((x * 2).sum(), unused, materialize_grads=True)
    assert zeros.tolist() == [0.0, 0.0]


def test_a_gradients_penalty_as_it_is_written():
    """WGAN-GP (Gulrajani et al., 2017) with PyTorch's own arguments, in their order."""
    x = tw.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = (x**2).sum(1)
    (dx,) = tw.autograd.grad(y, x, tw.ones(2), True, True, True, None)
    ((dx.norm(2, dim=1) - 1) ** 2).mean().backward()
    assert x.grad is not None
    (again,) = tw.autograd.grad(
        outputs=(x**2).sum(1), inputs=x, grad_outputs=tw.ones(2), create_graph=True,
        retain_graph=True, only_inputs=True,
    )  # fmt: skip
    assert again.tolist() == dx.tolist()


DIFFERENTIABLE = {
    "mul": lambda x: x * x * x,
    "div": lambda x: 1 / (x * x + 1),
    "pow": lambda x: (x * x + 1) ** 1.5,
    "exp": lambda x: x.exp() * x,
    "log": lambda x: (x * x + 1).log(),
    "sqrt": lambda x: (x * x + 1).sqrt(),
    "tanh": tw.tanh,
    "sigmoid": tw.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "maximum": lambda x: tw.maximum(x * x, x) ** 2,
    "softmax": lambda x: F.softmax(x * x, 1) * x,
    "softmax of a view": lambda x: F.softmax(x.t(), 0) ** 2,
    "log_softmax": lambda x: F.log_softmax(x * x, 0) * x,
    "matmul": lambda x: x @ x.t() @ x,
    "linear": lambda x: F.linear(x, x * 2, x[:, 0], activation="tanh"),
    "bias_activation": lambda x: F.bias_activation(x, x[0] * 2, "gelu"),
    "sum": lambda x: x.sum(0) * x,
    "mean": lambda x: x.mean(1, keepdim=True) ** 3,
    "var": lambda x: x.var(1),
    "amax": lambda x: (x * x).amax(1) ** 2,
    "logsumexp": lambda x: x.logsumexp(1),
    "mse": lambda x: F.mse_loss(x * x, x),
    "index": lambda x: (x[1:] * x[:2])[:, [0, 0, 1]] ** 2,
    "gather": lambda x: x.gather(1, tw.tensor([[0], [1], [0]])) ** 3,
    "cat": lambda x: tw.cat([x * x, x**3], 1).permute(1, 0)[1:].reshape(-1) ** 2,
    "where": lambda x: tw.where(x > 0, x * x, x**3),
    "expand": lambda x: (x * x)[:1].expand(4, 4) * x[0],
    "clamp": lambda x: (x.clamp(-0.5, 0.5) * x) ** 2,
    "cumsum": lambda x: (x * x).cumsum(1) ** 2,
    "pad": lambda x: F.pad(x * x, (1, 1)) ** 2,
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_gradients_agree_with_finite_differences(name):
    function = DIFFERENTIABLE[name]
    start = np.random.default_rng(3).uniform(0.2, 0.9, (3, 4)) * [[1], [-1], [1]]

    def penalty(x):
        (g,) = tw.autograd.grad(function(x).sum(), x, create_graph=True)
        return (g * g).sum()

    def at(array):
        return penalty(tw.tensor(array, requires_grad=True)).item()

    x = tw.tensor(start, requires_grad=True)
    penalty(x).backward()
    wanted = finite_difference(at, start)
    # Central differences of step h err by h^2 times the third derivative, and eps / h times the
    # value.
    limit = 1e-6 * max(1.0, np.abs(wanted).max()) * 10
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_second_gradient_of_what_was_written_since(function):
    """The first backward needs the result alone, so the input may be written: the second one
    reaches the input as it was."""

    def second(write):
        x = leaf(0.5, -1.0, 2.0)
        y = x * 1
        z = function(y, 0) ** 2
        if write:
            y.mul_(3)
        (g,) = tw.autograd.grad(z.sum(), x, create_graph=True)
        (g * g).sum().backward()
        return x.grad.tolist()

    assert second(True) == second(False)
    x = leaf(1.0, 2.0)
    y = function(x, 0)
    z = (y * 2).sum()
    with tw.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="in-place operation has modified"):
        tw.autograd.grad(z, x, create_graph=True)


def test_create_graph_refuses_by_name():
    x = leaf(1.0, 2.0)
    largest = F.max_pool2d(x.reshape(1, 1, 1, 2), (1, 2))
    with pytest.raises(RuntimeError, match=r"create_graph=True\).*max_pool"):
        tw.autograd.grad(largest, x, create_graph=True)


def test_gradient_penalty_reaches_grad_attributes():
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    x.grad.sum().backward()
    assert x.grad.tolist() == [3 * 4.0 + 6 * 2.0]


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin"])
def test_the_extreme_of_a_number_is_itself(name):
    x = tw.tensor(3.0, requires_grad=True)
    getattr(tw, name)(x).backward()
    assert x.grad.item() == 1.0


def test_a_slice_that_is_filled_twice_counts_once():
    value = tw.tensor(2.0, requires_grad=True)
    y = tw.index_fill(tw.zeros(3), 0, tw.tensor([0, 1, 0]), value)
    (y * tw.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert value.grad.item() == 11.0


def test_inference_mode():
    w = tw.ones(2, requires_grad=True)
    with tw.inference_mode():
        assert not (w * 2).requires_grad
        with tw.inference_mode(False):
            assert not (w * 2).requires_grad
    with tw.inference_mode(False):
        assert (w * 2).requires_grad
    assert not tw.inference_mode(lambda: w * 2)().requires_grad
    assert not tw.inference_mode()(lambda: w * 2)().requires_grad
    assert tw.inference_mode(False)(lambda: w * 2)().requires_grad
    assert (w * 2).requires_grad
