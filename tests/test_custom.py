"""Ops of one's own (autograd.Function): PyTorch's values, second derivatives, refusals."""

import gc
import weakref

import pytest

import tilework as tw


class Exp(tw.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y


class ScaledAndSum(tw.autograd.Function):
    """Two results of a gradient, and a mask of none."""

    @staticmethod
    def forward(ctx, a, b, scale, more=None):
        ctx.save_for_backward(a, b)
        ctx.scale = scale
        mask = a > 0
        sign = a.sign()
        ctx.mark_non_differentiable(sign)
        return a * b * scale, a + b, mask, sign

    @staticmethod
    def backward(ctx, product, total, *_):
        a, b = ctx.saved_tensors
        ctx.seen = ctx.needs_input_grad
        product = product * ctx.scale
        return product * b + total, product * a + total, None


class Square(tw.autograd.Function):
    @staticmethod
    def forward(x):
        return x**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


def leaf(*values):
    return tw.tensor(values, dtype=tw.float64, requires_grad=True)


def test_a_saved_result_is_differentiated_twice():
    x = leaf(1.0, -2.0)
    y = Exp.apply(x)
    assert y.grad_fn == "ExpBackward"
    (slope,) = tw.autograd.grad(y.sum(), x, create_graph=True)
    (bend,) = tw.autograd.grad((slope * slope).sum(), x)
    assert tw.allclose(slope, x.exp())
    assert tw.allclose(bend, 2 * (2 * x).exp())


def test_several_results():
    a, b = leaf(1.0, -2.0), leaf(3.0, 4.0)
    product, total, mask, sign = ScaledAndSum.apply(a, b, 2.0)
    assert not mask.requires_grad
    assert not sign.requires_grad
    (product * total).sum().backward(retain_graph=True)  # 2 a b (a + b)
    assert tw.allclose(a.grad, 2 * b * (2 * a + b))
    assert tw.allclose(b.grad, 2 * a * (a + 2 * b))
    slopes = tw.autograd.grad((product * total).sum(), (a, b), create_graph=True)
    bends = tw.autograd.grad(slopes[0].sum(), (a, b))
    assert tw.allclose(bends[0], 4 * b)
    assert tw.allclose(bends[1], 4 * a + 4 * b)


def test_a_result_that_nothing_came_to_counts_as_zeros():
    a, b = leaf(1.0), leaf(3.0)
    ScaledAndSum.apply(a, b.detach(), 2.0)[0].sum().backward()
    assert a.grad.tolist() == [6.0]
    assert b.grad is None

    class Told(tw.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, first, second):
            assert first is None
            return second * 2

    a.grad = None
    Told.apply(a)[1].sum().backward()
    assert a.grad.tolist() == [2.0]


def test_a_forward_without_a_context():
    x = leaf(1.0, -2.0)
    Square.apply(Square.apply(x)).sum().backward()
    assert x.grad.tolist() == [4.0, -32.0]


def test_an_input_given_back_turns_its_gradient():
    class Reversed(tw.autograd.Function):
        @staticmethod
        def forward(ctx, x, rate):
            ctx.rate = rate
            return x.view_as(x)

        @staticmethod
        def backward(ctx, grad):
            return -grad * ctx.rate, None

    x = leaf(1.0, -2.0)
    y = Reversed.apply(x * 2, 0.5)
    y.add_(1.0)
    y.sum().backward()
    assert x.grad.tolist() == [-1.0, -1.0]


def test_a_gradient_that_is_saved_memory_stays_what_it_is():
    class Slope(tw.autograd.Function):
        @staticmethod
        def forward(ctx, x, slope):
            ctx.slope = slope
            return x.sum()

        @staticmethod
        def backward(ctx, grad):
            return ctx.slope, None

    x, slope = leaf(1.0, 2.0), tw.tensor([3.0, 4.0], dtype=tw.float64)
    for _ in range(2):
        Slope.apply(x, slope).backward()
    x.grad.zero_()
    assert slope.tolist() == [3.0, 4.0]


def test_a_gradient_sums_to_a_broadcast_argument():
    class Added(tw.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, grad):
            return grad, grad.float()

    a, b = leaf(1.0, 2.0), leaf(3.0)
    Added.apply(a, b).sum().backward()
    assert b.grad.tolist() == [2.0]
    assert b.grad.dtype == tw.float64


def test_nothing_is_recorded_where_nothing_is_wanted():
    y = Exp.apply(tw.ones(2))
    assert not y.requires_grad
    with tw.no_grad():
        assert not Exp.apply(leaf(1.0)).requires_grad


@pytest.mark.parametrize("call", [lambda x: Exp.apply(x), lambda x: ScaledAndSum.apply(x, x, 1.0)])
def test_a_dropped_graph_needs_no_collector(call):
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = x * 3
        died = weakref.ref(y)
        z = call(y)
        del y, z
        assert died() is None
    finally:
        gc.enable()


def test_saved_memory_may_not_be_written():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = Square.apply(y)
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"SquareBackward saved"):
        z.sum().backward()


def returning(*given):
    class Wrong(tw.autograd.Function):
        @staticmethod
        def forward(ctx, x, other):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            return given if len(given) > 1 else given[0]

    return Wrong


@pytest.mark.parametrize("given", [(None,), (None, None, 3.0), (tw.ones(5), None), ("a", None)])
def test_wrong_gradients_are_refused(given):
    with pytest.raises(RuntimeError, match=r"^\[Wrong\] expected .* from backward; got .*: ."):
        returning(*given).apply(leaf(1.0, 2.0), 1).sum().backward()


def test_other_refusals():
    class Empty(tw.autograd.Function):
        pass

    x = leaf(1.0)
    with pytest.raises(NotImplementedError, match="forward"):
        Empty.apply(x)
    Empty.forward = staticmethod(lambda ctx, x: x * 1)
    with pytest.raises(NotImplementedError, match="backward"):
        Empty.apply(x).sum().backward()
    ctx = tw.custom.FunctionCtx()
    with pytest.raises(TypeError, match=r"^\[save_for_backward\] expected tensors"):
        ctx.save_for_backward(1.0)
    with pytest.raises(NotImplementedError, match=r"^\[mark_dirty\]"):
        ctx.mark_dirty(x)


def test_what_goes_wrong_inside_comes_out_as_it_is():
    class Broken(tw.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Broken.apply(leaf(1.0)).sum().backward()
