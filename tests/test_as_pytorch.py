"""What PyTorch takes and gives in the small: keyword forms, named tuples, numbers of any kind."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing import calls, strange

X = tw.tensor([[3.0, 1.0, 2.0], [4.0, 6.0, 5.0]])


@pytest.mark.parametrize(
    "found", [X.sort(1), X.topk(3, 1), X.max(1), X.min(1), tw.sort(X, dim=1), tw.topk(X, 3)]
)
def test_named_tuples(found):
    assert found._fields == ("values", "indices")
    assert found.values is found[0]
    assert found.indices.dtype == tw.int64


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_sizes_by_keyword(name):
    make = getattr(tw, name)
    for made in (make(2, 3), make((2, 3)), make([2, 3]), make(size=(2, 3)), make(np.array([2, 3])),
                 make(tw.tensor(2), np.int64(3)), make(dtype=None, size=[2, 3])):  # fmt: skip
        assert (made.shape, made.dtype) == ((2, 3), tw.float32)
    made = make(dtype=tw.float64, requires_grad=True, device="cpu", size=(2, 3))
    assert made.dtype == tw.float64
    assert made.requires_grad
    with pytest.raises(TypeError, match=rf"^\[{name}\] expected size once"):
        make(2, size=(2,))


def test_creation_by_keyword():
    assert tw.randint(5, size=(2,)).shape == (2,)
    assert tw.randint(high=5, size=(2,)).shape == (2,)
    assert (tw.randint(size=(50,), high=9, low=7) >= 7).all()
    assert tw.randint(5, (2,), dtype=tw.int32).dtype == tw.int32
    assert tw.full(fill_value=2, size=(2,)).tolist() == [2, 2]
    assert tw.arange(end=3).tolist() == [0, 1, 2]
    assert tw.arange(step=2, start=1, end=6).tolist() == [1, 3, 5]
    assert tw.linspace(steps=2, end=1, start=0).tolist() == [0, 1]
    assert tw.eye(m=1, n=2).shape == (2, 1)
    assert tw.randperm(n=3, dtype=tw.int32).dtype == tw.int32
    assert tw.normal(std=1.0, mean=0.0, size=(2,)).shape == (2,)
    assert tw.normal(X, 0.0).tolist() == X.tolist()
    assert X.new_zeros(size=(2,), dtype=tw.int64).dtype == tw.int64
    assert X.new_empty(2, 3).shape == (2, 3)
    assert tw.rand_like(X, requires_grad=True).requires_grad


# A whole number of any kind serves where an int does.
WHOLE = {"numpy": np.int64, "unsigned": np.uint8, "array": np.array, "tensor": tw.tensor}
IMAGE = tw.ones(1, 4, 6, 6)
BY_NUMBER = {
    "sum": lambda n: X.sum(n(1)),
    "softmax": lambda n: X.softmax(n(1)),
    "transpose": lambda n: X.transpose(n(0), n(1)),
    "reshape": lambda n: X.reshape(n(3), n(2)),
    "view": lambda n: X.view((n(3), n(2))),
    "expand": lambda n: tw.ones(1, 3).expand(n(2), n(3)),
    "permute": lambda n: X.permute(n(1), n(0)),
    "split": lambda n: X.split(n(2), n(1))[0],
    "split into lengths": lambda n: X.split([n(1), n(2)], n(1))[0],
    "chunk": lambda n: X.chunk(n(2), n(1))[0],
    "narrow": lambda n: X.narrow(n(1), n(1), n(2)),
    "topk": lambda n: X.topk(n(2), n(1)).values,
    "cat": lambda n: tw.cat([X, X], n(1)),
    "stack": lambda n: tw.stack([X, X], n(1)),
    "squeeze": lambda n: tw.ones(1, 3, 1).squeeze((n(0), n(2))),
    "unflatten": lambda n: X.unflatten(n(1), (n(3), n(1))),
    "flatten": lambda n: IMAGE.flatten(n(1), n(2)),
    "zeros": lambda n: tw.zeros(n(2), n(3)),
    "arange": lambda n: tw.arange(n(1), n(7), n(2)),
    "eye": lambda n: tw.eye(n(2), n(3)),
    "linspace": lambda n: tw.linspace(n(0), n(1), n(3)),
    "one_hot": lambda n: F.one_hot(tw.tensor([0, 1]), n(3)),
    "pad": lambda n: F.pad(X, (n(1), n(2))),
    "max_pool2d": lambda n: F.max_pool2d(IMAGE, n(2), n(1), n(1)),
    "avg_pool2d": lambda n: F.avg_pool2d(IMAGE, (n(2), n(3)), divisor_override=n(5)),
    "adaptive_avg_pool2d": lambda n: F.adaptive_avg_pool2d(IMAGE, n(2)),
    "interpolate": lambda n: F.interpolate(IMAGE, n(3)),
    "conv2d": lambda n: F.conv2d(IMAGE, tw.ones(4, 2, 3, 3), None, n(2), (n(1), n(1)), 1, n(2)),
    "layer_norm": lambda n: F.layer_norm(X, n(3)),
    "group_norm": lambda n: F.group_norm(IMAGE, n(2)),
    "pixel_shuffle": lambda n: F.pixel_shuffle(IMAGE, n(2)),
    "unfold": lambda n: F.unfold(IMAGE, n(2), padding=n(1)),
    "sum_to_size": lambda n: X.sum_to_size(n(1), n(3)),
    "size": lambda n: tw.tensor(X.size(n(1))),
    "Linear": lambda n: nn.Linear(n(3), n(2))(X).detach() * 0,
    "Conv2d": lambda n: nn.Conv2d(n(4), n(2), n(3))(IMAGE).detach() * 0,
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("name", BY_NUMBER)
def test_whole_numbers_of_any_kind(name, kind):
    got, wanted = BY_NUMBER[name](WHOLE[kind]), BY_NUMBER[name](int)
    assert got.shape == wanted.shape
    assert got.tolist() == wanted.tolist()


def test_integers_wrap():
    a = tw.tensor([44, 255], dtype=tw.uint8)
    assert (a + 300).tolist() == [88, 43]
    assert (300 - a).tolist() == [0, 45]
    assert (a * 300).dtype == tw.uint8
    assert (a == 300).tolist() == [True, False]
    assert (tw.tensor([1]) + 2**63).tolist() == [1 - 2**63]
    with pytest.raises(ValueError, match=r"^\[add\] expected a number of 64 bits"):
        a + 2**70
    for call in (lambda: a.masked_fill(a > 0, 300), lambda: tw.full((2,), 300, dtype=tw.uint8),
                 lambda: a.clamp(0, 300)):  # fmt: skip
        with pytest.raises(ValueError, match="within uint8"):
            call()


def test_an_empty_vector_joins_anything():
    x = tw.ones(2, 3, requires_grad=True)
    joined = tw.cat([tw.tensor([]), x, tw.tensor([])], 1)
    assert joined.shape == (2, 3)
    joined.sum().backward()
    assert x.grad.tolist() == [[1.0] * 3] * 2
    assert tw.cat([tw.tensor([], dtype=tw.float64), tw.ones(2, 3)]).dtype == tw.float64
    assert tw.cat([tw.tensor([]), tw.tensor([])]).shape == (0,)
    with pytest.raises(ValueError, match=r"^\[cat\]"):
        tw.cat([tw.zeros(0, 4), tw.ones(2, 3)])


def test_squeeze_of_several_axes():
    x = tw.zeros(1, 3, 1, 1)
    assert x.squeeze((0, 2)).shape == (3, 1)
    assert x.squeeze([0, 1]).shape == (3, 1, 1)
    assert x.squeeze(()).shape == x.shape
    assert x.squeeze((-1, 0, 2)).shape == (3,)
    assert tw.zeros(()).squeeze(0).shape == ()


@pytest.mark.parametrize(("ndim", "dim"), [(1, 0), (2, 1), (3, 0), (4, 1)])
def test_softmax_without_an_axis(ndim, dim):
    x = tw.randn((2,) * ndim)
    for function in (F.softmax, F.log_softmax):
        with pytest.warns(UserWarning, match="dim is not given"):
            assert function(x, None).tolist() == function(x, dim).tolist()


TENSOR_FIRST = [
    name
    for name, call in calls.FUNCTIONS.items()
    if call.args and isinstance(call.args[0], calls.Made) and call.args[0].kind != "array"
]
# These take a number on either side.
EITHER = {"add", "sub", "mul", "div", "pow", "eq", "ne", "lt", "le", "gt", "ge", "floor_divide"}
EITHER |= {
    "remainder",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "isclose",
    "allclose",
    "bucketize",
    "isin",
    "xlogy",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
}


@pytest.mark.parametrize("name", TENSOR_FIRST)
@pytest.mark.parametrize("stranger", [np.ones((3, 4)), 3, "abc", b"abc", None, [1.0, 2.0]], ids=str)
def test_a_stranger_where_a_tensor_is_wanted(name, stranger):
    if name in EITHER and isinstance(stranger, (int, np.ndarray)):
        return
    rest = strange._arguments(calls.FUNCTIONS[name], np.random.default_rng(0))[0][1:]
    with pytest.raises(TypeError, match=r"^\[\w+\] expected .*; got .*: ."):
        calls.FUNCTIONS[name].function(stranger, *rest)


def test_a_users_own_exception_stays_what_it_is():
    class Strange(nn.Module):
        def forward(self, x):
            return x.missing

    with pytest.raises(AttributeError, match="missing"):
        nn.Sequential(nn.Identity(), Strange())(X)


@pytest.mark.parametrize("name", ["nll_loss", "multi_margin_loss", "multilabel_margin_loss"])
def test_fractions_are_no_classes(name):
    x = tw.zeros(2, 3)
    target = tw.full((2, 3) if name == "multilabel_margin_loss" else (2,), 0.5)
    with pytest.raises(TypeError, match=rf"^\[{name}\] expected class indices; got float32: "):
        getattr(F, name)(x, target)


def test_a_diagonal_is_a_view():
    x = tw.zeros(2, 3)
    x.diagonal(1).fill_(5.0)
    tw.diag(x, 1).zero_()  # a copy, as PyTorch's
    assert x.tolist() == [[0, 5, 0], [0, 0, 5]]
    assert x.diagonal(7).shape == x.diagonal(-(2**62)).shape == (0,)


@pytest.mark.parametrize(
    ("shape", "wrap", "places"),
    [
        ((7, 3), False, [(0, 0), (1, 1), (2, 2)]),
        ((7, 3), True, [(0, 0), (1, 1), (2, 2), (4, 0), (5, 1), (6, 2)]),
        ((2, 4), True, [(0, 0), (1, 1)]),
        ((2, 2, 2), False, [(0, 0, 0), (1, 1, 1)]),
    ],
)
def test_a_filled_diagonal(shape, wrap, places):
    for x in (tw.zeros(shape), tw.zeros(shape[::-1]).permute(*reversed(range(len(shape))))):
        assert x.fill_diagonal_(2.0, wrap=wrap) is x
        assert x.nonzero().tolist() == [list(p) for p in places]
        assert x.sum() == 2 * len(places)


def test_windows_of_a_tensor_without_axes():
    assert tw.tensor(3.0).unfold(0, 1, 1).tolist() == [3.0]
    assert tw.tensor(3.0).unfold(-1, 0, 1).shape == (0,)


def test_refusals_of_diagonals_and_windows():
    for call in (
        lambda: tw.ones(3).fill_diagonal_(1.0),
        lambda: tw.ones(2, 2, 3).fill_diagonal_(1.0),
        lambda: tw.ones(4).unfold(0, 5, 1),
        lambda: tw.ones(4).unfold(0, 2, 0),
    ):
        with pytest.raises(ValueError, match=r"^\[\w+\] expected .*; got .*: ."):
            call()
    with pytest.raises(IndexError, match=r"^\[unfold\]"):
        tw.ones(4).unfold(1, 2, 1)
