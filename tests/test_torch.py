"""PyTorch as a judge, where it is installed: values, gradients and refusals."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.testing.case import as_float64
from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import cotangent, failure, forward, gradients, to_tensors
from tilework.testing.tolerance import assert_close, eps, growth

torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")

OPS = [
    pytest.param(family, op, id=f"{family}-{op}")
    for family in FAMILIES
    for op in dict.fromkeys(c.op for c in of_family(family) if c.peer is not None and c.quick)
]


def _copied(x):
    if x.dtype == tw.bfloat16:
        return torch.from_numpy(np.array(x).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(x))


def to_torch(inputs, requires_grad=()):
    """Copies: PyTorch has no negative strides."""
    tensors = tuple(_copied(x) if isinstance(x, np.ndarray) else x for x in inputs)
    for i in requires_grad:
        tensors[i].requires_grad_(True)
    return tensors


def check_values(case):
    """In float64, where both are far more accurate than the bound for float32."""
    inputs = case.make_inputs("float64")
    theirs = case.bind_peer(torch, to_torch(inputs))().detach().numpy()
    ours = forward(case, case.make_inputs("float64"))
    assert ours.dtype == theirs.dtype
    with np.errstate(all="ignore"):
        bound = case.tolerance("float64", case.expected(inputs), *as_float64(inputs))
    assert_close(ours, theirs, 2 * bound, str(case))


def check_kinds(case, dtype):
    """The same dtype and shape in every dtype, where both serve it."""
    inputs = case.make_inputs(dtype)
    try:
        theirs = case.bind_peer(torch, to_torch(inputs))()
    except (RuntimeError, TypeError):  # PyTorch has no kernel for it
        return
    ours = case.bind(tw, F, to_tensors(inputs))()
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), f"{case} {dtype}"
    assert ours.shape == tuple(theirs.shape), f"{case} {dtype}"


def check_gradients(case):
    inputs = case.make_inputs("float64")
    tensors = to_torch(inputs, case.differentiable)
    out = case.bind_peer(torch, tensors)()
    out.backward(torch.from_numpy(cotangent(case, out.detach().numpy())))
    for i, ours in zip(case.differentiable, gradients(case, inputs), strict=True):
        theirs = tensors[i].grad.numpy()
        size = 1 + np.abs(theirs).max(initial=0)  # inputs and cotangents are of order one
        bound = 8 * growth(inputs[i].size) * eps("float64") * size
        assert_close(ours, theirs, bound, f"{case} gradient {i}")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize(("family", "op"), OPS)
def test_same_values_and_gradients(family, op):
    cases = [
        c
        for c in of_family(family)
        if c.op == op and c.quick and "float64" in c.dtypes and c.peer is not None
    ]
    found = [failure(check_values, c) for c in cases]
    found += [failure(check_gradients, c) for c in cases if c.differentiable]
    found += [failure(check_kinds, c, d) for c in cases for d in c.dtypes if d != "float64"]
    assert not [line for line in found if line]


# --- names ---

AXIS = {"axis": 1}
BOTH = {"axis": 1, "keepdims": True}
NAMES = {
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min", "argmax", "argmin", "var", "std",
                     "logsumexp", "all", "any"), BOTH),
    **dict.fromkeys(("softmax", "log_softmax", "cumsum", "squeeze", "unsqueeze", "argsort", "sort",
                     "unbind"), AXIS),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_numpys_names_are_taken_where_pytorch_takes_them(name):
    x = np.array([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]])
    ours = getattr(tw, name)(tw.tensor(x), **NAMES[name])
    theirs = getattr(torch, name)(torch.from_numpy(x), **NAMES[name])
    several = isinstance(theirs, tuple)
    for a, b in zip(ours if several else (ours,), theirs if several else (theirs,), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=8 * eps("float64"))


# --- refusals ---

X, Y, Z = (3, 4), (4, 5), (2, 3)
# The call, as both spell it; the shapes of its float tensors; the class that ours raises.
BAD_CALLS = {
    "matmul of other depths": (lambda tw, F, a, b: tw.matmul(a, b), (X, X), ValueError),
    "matmul of other batches": (
        lambda tw, F, a, b: tw.matmul(a, b), ((2, 3, 4), (3, 4, 5)), ValueError),
    "matmul of numbers": (lambda tw, F, a, b: tw.matmul(a, b), ((), ()), ValueError),
    "linear of another width": (lambda tw, F, x, w: F.linear(x, w), (X, Y), ValueError),
    "linear with a long bias": (
        lambda tw, F, x, w, b: F.linear(x, w, b), (X, (5, 4), (6,)), ValueError),
    "add of other shapes": (lambda tw, F, a, b: a + b, (X, Z), ValueError),
    "mse of other shapes": (lambda tw, F, a, b: F.mse_loss(a, b), (X, Z), ValueError),
    "mse with a strange reduction": (
        lambda tw, F, a, b: F.mse_loss(a, b, reduction="median"), (X, X), ValueError),
    "softmax of a missing axis": (lambda tw, F, x: F.softmax(x, dim=2), (X,), IndexError),
    "sum over a missing axis": (lambda tw, F, x: tw.sum(x, dim=5), (X,), IndexError),
    "amax of nothing": (lambda tw, F, x: tw.amax(x, dim=0), ((0, 3),), (ValueError, IndexError)),
    "gelu with a strange word": (lambda tw, F, x: F.gelu(x, approximate="sinh"), (X,), ValueError),
    "dropout past one": (lambda tw, F, x: F.dropout(x, 1.5), (X,), ValueError),
    "cross entropy of many labels": (
        lambda tw, F, x: F.cross_entropy(x, tw.tensor([0, 1])), (X,), ValueError),
    "cross entropy of a class too far": (
        lambda tw, F, x: F.cross_entropy(x, tw.tensor([0, 1, 4])), (X,), (ValueError, IndexError)),
    "reshape to another size": (lambda tw, F, x: x.reshape(5, 3), (X,), ValueError),
    "an index too far": (lambda tw, F, x: x[7], (X,), IndexError),
    "transpose of a missing axis": (lambda tw, F, x: x.transpose(0, 2), (X,), IndexError),
    "cat of other shapes": (lambda tw, F, a, b: tw.cat([a, b]), (X, (2, 5)), ValueError),
    "backward of many": (lambda tw, F, x: (x * 2).backward(), (X,), RuntimeError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CALLS)
def test_both_refuse(name):
    call, shapes, ours = BAD_CALLS[name]
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError)):
        call(torch, torch.nn.functional, *(torch.ones(s, requires_grad=True) for s in shapes))
    tensors = [tw.ones(*s, requires_grad=True) for s in shapes]
    with pytest.raises(ours, match=r"^\[\w+\] expected .*; got .*: .") as found:
        call(tw, F, *tensors)
    assert len(str(found.value)) < 400


# --- writes through views ---

VIEWS = (
    lambda v: v.reshape(-1),
    lambda v: v.transpose(0, -1),
    lambda v: v[1:],
    lambda v: v[..., 0],
    lambda v: v.unsqueeze(0),
    lambda v: v.reshape(-1)[1:],
)
WRITES = (
    lambda v, w: v.mul_(w),
    lambda v, w: v.add_(w * w),
    lambda v, w: v.fill_(0.5),
    lambda v, w: v.__setitem__(0, w),
    lambda v, w: v.copy_(w * 3),
    lambda v, w: v.clamp_(-0.5, 0.5),
)


def written_through_views(library, seed):
    """What some writes through views of views come to, and its gradients."""
    rng = np.random.default_rng(seed)
    x, w = (library.tensor(rng.standard_normal(s).tolist()) for s in ((3, 4), ()))
    x.requires_grad_()
    w.requires_grad_()
    y = x * 2 if seed % 2 else library.zeros(3, 4)
    total = w * 0
    for _ in range(3):
        view = y
        for _ in range(rng.integers(3)):
            taken = VIEWS[rng.integers(len(VIEWS))](view)
            if taken.numel() and taken.ndim:
                view = taken
            del taken
        WRITES[rng.integers(len(WRITES))](view, w)
        total = total + (view * view).sum()
        del view
        y = y.clone()  # both sides have saved it: a further write would be refused
        total = total + (y * library.arange(12).reshape(3, 4)).sum()
    total.backward()
    grads = [np.zeros(x.shape) if x.grad is None else x.grad.numpy(), w.grad]
    return y.detach().numpy(), grads[0], 0.0 if grads[1] is None else grads[1].item()


@pytest.mark.parametrize("seed", range(40))
def test_writes_through_views(seed):
    for ours, theirs in zip(
        written_through_views(tw, seed), written_through_views(torch, seed), strict=True
    ):
        scale = 1 + np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=200 * eps("float32") * scale)
