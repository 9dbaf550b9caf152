"""Writes in place as PyTorch has them: allowed where its programs write, refused where it refuses.

The programs of inplace_programs.py run over PyTorch too, where that is installed. Without it,
gradients are held against central differences of the program itself.
"""

import gc
import weakref

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F

from .inplace_programs import (
    AT_ONCE,
    IN_BACKWARD,
    NO_FUNCTION,
    PROGRAMS,
    RIGHT,
    WIDER,
    W,
    X,
    retained_view_of_what_was_written,
)

try:
    import torch
except ImportError:
    torch = None


def outcome(package, program):
    """The values and the gradients of a program; or where it was refused, and how."""
    x, w = (package.tensor(a, requires_grad=True) for a in (X, W))
    try:
        y = program(package, x, w)
    except RuntimeError as reason:
        return "at once", str(reason)
    try:
        (y * package.tensor(weights(y.shape))).sum().backward()
    except RuntimeError as reason:
        return "in backward", str(reason)
    return tuple(
        np.zeros_like(a) if g is None else g.detach().numpy()
        for a, g in zip((y.detach().numpy(), X, W), (y, x.grad, w.grad), strict=True)
    )


def weights(shape):
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


def same(found, wanted, bound):
    for p, q in zip(found, wanted, strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=bound * (1 + np.abs(q).max(initial=0)))


def differences(program):
    """The gradients of the weighted sum, by central differences."""
    step = np.finfo(np.float64).eps ** (1 / 3)
    found = []
    for i, start in enumerate((X, W)):
        slopes = np.zeros_like(start)
        for at in np.ndindex(start.shape):
            values = []
            for h in (step, -step):
                given = [X.copy(), W.copy()]
                given[i][at] += h
                y = program(tw, *map(tw.tensor, given))
                values.append((y.numpy() * weights(y.shape)).sum())
            slopes[at] = (values[0] - values[1]) / (2 * step)
        found.append(slopes)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    program = PROGRAMS[name]
    found = outcome(tw, program)
    if program in AT_ONCE | IN_BACKWARD:
        assert found[0] == ("at once" if program in AT_ONCE else "in backward")
        return
    assert not isinstance(found[0], str), found
    if program not in NO_FUNCTION:
        # Central differences of step h err by h^2 times a third derivative, of order a hundred.
        same(found[1:], differences(program), 100 * np.finfo(np.float64).eps ** (2 / 3))


@pytest.mark.parametrize("name", [n for n, f in PROGRAMS.items() if f not in AT_ONCE | IN_BACKWARD])
def test_program_in_bfloat16(name):
    """Gradients of bfloat16 beside those of float64 at the same point."""
    results = []
    for dtype in (tw.bfloat16, tw.float64):
        x, w = (tw.tensor(a).to(tw.bfloat16).to(dtype).requires_grad_() for a in (X, W))
        y = PROGRAMS[name](tw, x, w)
        (y * tw.tensor(weights(y.shape)).to(dtype)).sum().backward()
        grads = [np.zeros_like(a) if t.grad is None else t.grad for t, a in ((x, X), (w, W))]
        results.append([np.asarray(g, np.float64) for g in grads])
    # Each of some sixteen steps and summands rounds, what was multiplied once more with it.
    same(*results, 16 * 2.0**-8)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed here")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_over_pytorch(name):
    program = PROGRAMS[name]
    wanted, found = outcome(torch, program), outcome(tw, program)
    if program in WIDER:
        assert isinstance(wanted[0], str)
    elif program in RIGHT:
        assert not np.array_equal(found[1], wanted[1])
    elif isinstance(wanted[0], str):
        assert isinstance(found[0], str), f"PyTorch refuses: {wanted[1]}"
    else:
        same(found, wanted, 64 * np.finfo(np.float64).eps)


# --- methods ---

FUNCTIONS = {
    "abs": (), "ceil": (), "exp": (), "floor": (), "log": (), "neg": (), "round": (), "rsqrt": (),
    "sigmoid": (), "sign": (), "sqrt": (), "square": (), "tanh": (), "relu": (), "cumsum": (1,),
    "pow": (3,), "remainder": (0.4,), "floor_divide": (0.4,), "clamp": (-0.5, 0.5),
    "add": (2,), "sub": (2,), "mul": (2,), "div": (2,), "eq": (0.9,), "ne": (0.9,), "lt": (0.5,),
    "le": (0.5,), "gt": (0.5,), "ge": (0.5,), "logical_not": (), "logical_and": (W,),
    "logical_or": (W,), "logical_xor": (W,), "subtract": (1,), "multiply": (2,), "divide": (2,),
    "true_divide": (2,), "clip": (-0.5, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("view", [False, True])
def test_method_writes_what_its_twin_gives(name, view):
    given = [tw.tensor(a) if isinstance(a, np.ndarray) else a for a in FUNCTIONS[name]]
    results = []
    for in_place in (False, True):
        x = tw.tensor(np.abs(X) + 0.2, requires_grad=True)
        y = x * 1
        part = y[1:] if view else y
        if in_place:
            assert getattr(part, name + "_")(*given) is part
        else:
            part = getattr(part, name)(*given).to(x.dtype)
            y = tw.cat([y[:1], part]) if view else part
        if y.requires_grad:
            (y * tw.tensor(weights(y.shape))).sum().backward()
        results.append((y.detach().numpy(), 0 if x.grad is None else x.grad.numpy()))
    same(*results, 8 * np.finfo(np.float64).eps)


def test_operators_write_in_place():
    x = tw.tensor([7, 9])
    same_one, twin = x, x.view(2)
    x |= 16
    assert x.tolist() == [23, 25]
    x &= 7
    x ^= tw.tensor([1, 1])
    assert x.tolist() == [6, 0]
    x += 5
    x //= 2
    x **= 2
    x %= 4
    assert x is same_one
    assert twin.tolist() == x.tolist() == [1, 0]
    with pytest.raises(TypeError, match=r"\[or\]"):
        x |= "1"
    with pytest.raises(TypeError, match=r"\[pow\].*values that fit"):
        x **= 0.5


@pytest.mark.parametrize("layer", [tw.nn.ReLU, tw.nn.SiLU, tw.nn.Dropout])
def test_layers_in_place(layer):
    x = tw.tensor(X, requires_grad=True)
    y = x * 1
    z = layer(inplace=True)(y)
    assert z is y
    if layer is not tw.nn.Dropout:
        assert y.tolist() == layer()(tw.tensor(X)).tolist()
    y.sum().backward()
    assert x.grad.shape == X.shape


def test_values_are_added_at_indices_within():
    x = tw.zeros(3, 4)
    x.index_put_((tw.tensor([0, -3]), tw.tensor([1, -3])), tw.ones(2), accumulate=True)
    assert x.tolist() == [[0, 2, 0, 0], [0] * 4, [0] * 4]
    for i, j in ((0, 4), (1, -5), (3, 0)):  # a place of another row, were they counted on
        with pytest.raises(IndexError, match=r"^\[index_put_\]"):
            x.index_put_((tw.tensor([i]), tw.tensor([j])), tw.ones(1), accumulate=True)
    with pytest.raises(ValueError, match="or more than 2"):
        x.index_put_((tw.tensor([0]),) * 3, tw.ones(1), accumulate=True)


def test_relu_in_place_is_differentiated_twice():
    x = tw.tensor(X, requires_grad=True)
    y = F.relu_(x * x - 0.5)
    (g,) = tw.autograd.grad((y**3).sum(), x, create_graph=True)
    (g * g).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


# --- what it costs ---


def test_rows_cost_what_they_hold():
    """No whole buffer is touched for a row: in the walk one array serves all of them."""
    rows = 2000
    x = tw.randn(rows, 16, requires_grad=True)
    out = tw.zeros(rows, 16)
    for t in range(rows):
        out[t] = x[t] * 2
    whole = out._array.nbytes
    allocated = []
    zeros = np.zeros_like

    def counted(*args, **options):
        array = zeros(*args, **options)
        allocated.append(array.nbytes >= whole)
        return array

    np.zeros_like = counted
    try:
        out.sum().backward()
    finally:
        np.zeros_like = zeros
    assert sum(allocated) <= 2
    assert (x.grad.numpy() == 2).all()


MAKE_GRAPHS = [
    name
    for name, f in PROGRAMS.items()
    if f not in AT_ONCE | NO_FUNCTION or f is retained_view_of_what_was_written
]


@pytest.mark.parametrize("name", MAKE_GRAPHS)
def test_a_dropped_graph_needs_no_collector(name):
    gc.collect()
    gc.disable()
    try:
        x, w = (tw.tensor(a, requires_grad=True) for a in (X, W))
        y = x * 1
        gone = weakref.ref(y)
        z = PROGRAMS[name](tw, y, w)
        del y, z
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "cut", [lambda t: t.split(2, 1), lambda t: t.chunk(2, 1), lambda t: t.unbind(1)]
)
def test_views_made_at_once_know_their_own_parts(cut):
    """They have in common why they may not be written, and nothing else."""
    x = tw.randn(3, 4, requires_grad=True)
    out = tw.zeros(3, 4)
    pieces = cut(out)
    out.add_(x)
    sum((i + 1.0) * piece.sum() for i, piece in enumerate(pieces)).backward()
    expected = np.repeat(np.arange(1.0, len(pieces) + 1), 4 // len(pieces))
    np.testing.assert_array_equal(x.grad.numpy(), np.broadcast_to(expected, (3, 4)))
    with pytest.raises(RuntimeError, match="one of the views"):
        pieces[0].zero_()
