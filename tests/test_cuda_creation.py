"""Tensors are made on the device that they are to live on: nothing of them crosses from the host,
and their values are the CPU's to the bit."""

import inspect

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing import simulated, stand_in

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

FLOATS = tw.float32, tw.float64, tw.bfloat16
FIVE = tw.tensor(5.0)
DTYPES = (*FLOATS, tw.int64, tw.int32, tw.uint8, tw.bool)


@pytest.fixture(autouse=True)
def cuda():
    with simulated.device() as served:
        yield served


def each(function, *args, dtypes=DTYPES):
    """A call for each dtype."""
    return [lambda d, dtype=dtype: function(*args, dtype=dtype, **d) for dtype in dtypes]


# By the function's name; each call is given the device, or nothing where that is the default.
FACTORIES = {
    "zeros": [lambda d: tw.zeros(2, 3, **d), *each(tw.zeros, 0), *each(tw.zeros, (5,))],
    "ones": [lambda d: tw.ones(2, 3, **d), lambda d: tw.ones(size=(), **d), *each(tw.ones, 5)],
    "empty": [lambda d: tw.empty(2, 3, **d).shape, lambda d: tw.empty((), **d).shape],
    "full": [lambda d: tw.full((2, 3), 7, **d), lambda d: tw.full((3,), float("nan"), **d),
             lambda d: tw.full((2,), FIVE, **d), *each(tw.full, (5,), 1)],
    "arange": [lambda d: tw.arange(5, **d), lambda d: tw.arange(0.1, 1.0, 0.13, **d),
               lambda d: tw.arange(7, 0, -3, **d), lambda d: tw.arange(0, **d),
               *each(tw.arange, 0.0, 40.0, 1.7, dtypes=DTYPES[:-1])],
    "linspace": [lambda d: tw.linspace(0, 1, 7, **d), lambda d: tw.linspace(3, 3, 1, **d),
                 lambda d: tw.linspace(1, 2, 0, **d), *each(tw.linspace, -3.0, 9.7, 13)],
    "eye": [lambda d: tw.eye(3, **d), lambda d: tw.eye(5, 2, **d), lambda d: tw.eye(2, 5, **d),
            lambda d: tw.eye(0, **d), *each(tw.eye, 3)],
    "rand": [lambda d: tw.rand(3, 7, **d), *each(tw.rand, 9, dtypes=FLOATS)],
    "randn": [lambda d: tw.randn(3, 7, **d), *each(tw.randn, 9, dtypes=FLOATS)],
    "randint": [lambda d: tw.randint(-5, 9, (3, 7), **d), lambda d: tw.randint(2**32, (5,), **d),
                lambda d: tw.randint(9, (), **d), *each(tw.randint, 0, 2, (9,))],
    "randperm": [lambda d: tw.randperm(33, **d), lambda d: tw.randperm(0, **d),
                 *each(tw.randperm, 9, dtypes=(tw.int32, tw.float32, tw.bfloat16))],
    "normal": [lambda d: tw.normal(1.0, 2.0, (3, 7), **d)],
    "tensor": [lambda d: tw.tensor(2.5, **d), lambda d: tw.tensor(True, **d),
               lambda d: tw.tensor(-3, **d), *each(tw.tensor, 1.5, dtypes=FLOATS)],
    "as_tensor": [lambda d: tw.as_tensor(2.5, **d)],
    "tril_indices": [lambda d: tw.tril_indices(4, 3, **d), lambda d: tw.tril_indices(3, 5, 1, **d),
                     lambda d: tw.tril_indices(5, 3, -2, dtype=tw.int32, **d),
                     lambda d: tw.tril_indices(0, 3, **d)],
    "triu_indices": [lambda d: tw.triu_indices(4, 3, **d), lambda d: tw.triu_indices(3, 5, 1, **d),
                     lambda d: tw.triu_indices(5, 3, -2, **d),
                     lambda d: tw.triu_indices(2, 2, 9, **d)],
}  # fmt: skip
# By a tensor of the device: what is made beside it, without a word of where.
BESIDE = {
    "zeros_like": tw.zeros_like,
    "ones_like": tw.ones_like,
    "full_like": lambda x: tw.full_like(x, 3),
    "empty_like": lambda x: tw.empty_like(x).shape,
    "rand_like": tw.rand_like,
    "randn_like": tw.randn_like,
    "new_zeros": lambda x: x.new_zeros(3),
    "new_ones": lambda x: x.new_ones((2, 2)),
    "new_empty": lambda x: x.new_empty(3).shape,
    "new_full": lambda x: x.new_full((2,), 1.5),
    "new_tensor": lambda x: x.new_tensor(4.0),
    "tensor": tw.tensor,
    "tensor in another dtype": lambda x: tw.tensor(x, dtype=tw.float64),
    "clone": lambda x: x.clone(),
    "fill_": lambda x: x.clone().fill_(2),
    "zero_": lambda x: x.clone().zero_(),
    "uniform_": lambda x: x.clone().uniform_(-1, 1),
    "normal_": lambda x: x.clone().normal_(1, 2),
    "normal of tensors": lambda x: tw.normal(x, x.abs()),
    "one_hot": lambda x: F.one_hot((x > 0).long(), 3),
    "repeat_interleave by a number": lambda x: x.repeat_interleave(3, 1),
    "repeat_interleave of a size": lambda x: x[0].repeat_interleave(
        tw.arange(x.shape[1], device=x.device), output_size=6
    ),
    "causal mask": lambda x: nn.Transformer.generate_square_subsequent_mask(3, device=x.device),
    "meshgrid": lambda x: tw.meshgrid(x[0], x[1], indexing="ij")[1],
    "tril": lambda x: x.tril(),
    "dropout": lambda x: F.dropout(x, 0.5),
}
# What waits for numbers of the device: how many at once, and no array.
WAITING = {
    "multinomial": (lambda x: x.exp().multinomial(3), 1),
    "multinomial with replacement": (lambda x: x.exp().multinomial(9, replacement=True), 1),
    "multinomial of one row": (lambda x: x[0].exp().multinomial(2), 1),
    "one_hot": (lambda x: F.one_hot((x > 0).long()), 1),
    "repeat_interleave": (lambda x: x.repeat_interleave((x[:, 0] > 0) + 2 * (x[:, 1] > 0), 0), 1),
}


def functions():
    """The names of all that takes a device, of tilework's and of Tensor's."""
    found = set()
    for space in (tw, F):
        for name in dir(space):
            function = getattr(space, name)
            if inspect.isfunction(function) and "device" in inspect.signature(function).parameters:
                found.add(name)
    return found | {name for name in dir(tw.Tensor) if name.startswith("new_")}


def test_every_function_that_makes_a_tensor_is_here():
    others = {"set_default_device"}
    assert functions() - others <= FACTORIES.keys() | BESIDE.keys()


def same(a, b):
    """Whether two results are one, to the bit."""
    if not isinstance(a, tw.Tensor):
        return a == b
    x, y = a.cpu().contiguous(), b.cpu().contiguous()
    alike = (x.dtype, x.shape, a.stride()) == (y.dtype, y.shape, b.stride())
    return alike and x.numpy().tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize("name", FACTORIES)
def test_nothing_crosses_where_a_tensor_is_made(name, cuda):
    for make in FACTORIES[name]:
        tw.manual_seed(5)
        wanted = make({})
        tw.manual_seed(5)
        cuda.crossings.clear()
        named = make({"device": "cuda"})
        tw.manual_seed(5)
        with tw.device("cuda"):
            default = make({})
        assert not cuda.crossings
        for found in (named, default):
            assert not isinstance(found, tw.Tensor) or found.is_cuda
            assert same(found, wanted)


@pytest.mark.parametrize("name", BESIDE)
def test_nothing_crosses_beside_a_tensor(name, cuda):
    hosts = tw.randn(3, 4), tw.randn(4, 3).t()
    for host in hosts:
        there = host.to("cuda")
        tw.manual_seed(5)
        wanted = BESIDE[name](host)
        tw.manual_seed(5)
        cuda.crossings.clear()
        found = BESIDE[name](there)
        assert not cuda.crossings
        assert not isinstance(found, tw.Tensor) or found.is_cuda
        assert same(found, wanted)


@pytest.mark.parametrize("name", WAITING)
def test_numbers_alone_cross_where_values_decide(name, cuda):
    make, numbers = WAITING[name]
    host = tw.randn(3, 4)
    there = host.to("cuda")
    tw.manual_seed(5)
    wanted = make(host)
    tw.manual_seed(5)
    cuda.crossings.clear()
    found = make(there)
    assert sum(cuda.crossings.values()) == numbers
    assert not cuda.crossings.keys() & {"to_device", "to_host", "asarray"}
    assert found.is_cuda
    assert same(found, wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.Linear(3, 4, **o),
        lambda **o: nn.Conv2d(1, 2, 3, **o),
        lambda **o: nn.Embedding(5, 3, padding_idx=1, **o),
        lambda **o: nn.LayerNorm(3, **o),
        lambda **o: nn.BatchNorm2d(3, **o),
        lambda **o: nn.LSTM(3, 4, **o),
        lambda **o: nn.MultiheadAttention(4, 2, **o),
        lambda **o: nn.init.eye_(tw.empty(2, 3, **o)),
        lambda **o: nn.init.kaiming_normal_(tw.empty(2, 3, **o)),
    ],
)
def test_nothing_crosses_where_a_layer_is_made(make, cuda):
    tw.manual_seed(5)
    wanted = make()
    tw.manual_seed(5)
    found = make(device="cuda")
    assert not cuda.crossings
    for a, b in zip(*map(values, (found, wanted)), strict=True):
        assert a.is_cuda
        assert same(a, b)


def values(made):
    return list(made.state_dict().values()) if isinstance(made, nn.Module) else [made]


@pytest.mark.parametrize("like", [tw.zeros_like, tw.ones_like, tw.rand_like])
def test_a_likeness_on_another_device_is_made_there(like, cuda):
    x = tw.randn(2, 3, 4, 5).to(memory_format=tw.channels_last)
    tw.manual_seed(5)
    wanted = like(x)
    tw.manual_seed(5)
    found = like(x, device="cuda")
    assert not cuda.crossings
    assert same(found, wanted)
    tw.manual_seed(5)
    assert same(like(found, device="cpu"), wanted)


@pytest.mark.parametrize("ends", [(0.0, 5e-324), (1e308, -1e-308), (0.1, 0.7), (3.0, 3.0)])
def test_even_distances_are_numpys(ends):
    for count in (0, 1, 2, 7):
        for device in ("cpu", "cuda"):
            found = tw.linspace(*ends, count, dtype=tw.float64, device=device)
            assert found.tolist() == np.linspace(*ends, count).tolist()


def test_weights_are_looked_at_on_the_device():
    for wrong in ([-1.0, 2.0], [float("nan"), 1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="multinomial"):
            tw.tensor(wrong, device="cuda").multinomial(1)
    with pytest.raises(ValueError, match="num_samples from 1 to 1, the fewest weights above 0"):
        tw.tensor([0.0, 3.0], device="cuda").multinomial(2)
    edges = tw.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 1.0]], device="cuda")
    assert edges.multinomial(4, replacement=True).tolist() == [[1] * 4, [2] * 4]


def test_counts_are_looked_at_on_the_device():
    x = tw.arange(3, device="cuda")
    with pytest.raises(ValueError, match=r"repeats from 0; got -1"):
        x.repeat_interleave(tw.tensor([1, -1, 2], device="cuda"))
    with pytest.raises(ValueError, match=r"repeats, one or 3; got 2"):
        x.repeat_interleave(tw.tensor([1, 2], device="cuda"))
    assert x.repeat_interleave(tw.tensor([2], device="cuda")).tolist() == [0, 0, 1, 1, 2, 2]
    too_many = x.repeat_interleave(tw.tensor([1, 1, 1], device="cuda"), output_size=4)
    with pytest.raises(IndexError):  # as PyTorch, where the host next waits
        too_many.tolist()


@pytest.mark.parametrize("rows", range(5))
def test_triangles_are_those_of_numpy(rows):
    for columns in range(5):
        for offset in range(-6, 7):
            for ours, theirs in (
                (tw.tril_indices, np.tril_indices),
                (tw.triu_indices, np.triu_indices),
            ):
                for device in ("cpu", "cuda"):
                    found = ours(rows, columns, offset, device=device)
                    assert found.tolist() == [i.tolist() for i in theirs(rows, offset, columns)]


def test_memory_of_another_library_on_the_device_is_shared(monkeypatch):
    class Foreign:
        held = None

        def __dlpack__(self, **options):
            raise AssertionError("it is CuPy's to ask")

        def __dlpack_device__(self):
            return (2, 0)

    given = tw.ones(2, 3, device="cuda")
    monkeypatch.setattr(stand_in.namespace, "from_dlpack", lambda x: x.held, raising=False)
    for held in (given._array, given._array.T):
        Foreign.held = held
        found = tw.from_dlpack(Foreign())
        assert (found.device, found.stride()) == (given.device, tuple(s // 4 for s in held.strides))
        given += 1
        assert found.tolist() == [[given[0, 0].item()] * held.shape[1]] * held.shape[0]
