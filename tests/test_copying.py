"""Copies of modules and tensors, attributes on tensors, and where an index puts its axes."""

import copy
import pickle

import numpy as np
import pytest

import tilework as tw
from tilework import nn

# --- modules ---


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(tw.ones(2))
        self.register_buffer("seen", tw.zeros(1))
        self.inner = nn.Linear(2, 2)

    def forward(self, x):
        return self.inner(x * self.scale)


MODULES = {
    "Module": Scaled,
    "Sequential": lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
    "ModuleList": lambda: nn.ModuleList([nn.Linear(2, 2), nn.ReLU()]),
    "ModuleDict": lambda: nn.ModuleDict({"a": nn.Linear(2, 2)}),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_copied_module_has_a_registry_of_its_own(make):
    module = make()
    before = [name for name, _ in module.named_modules()]
    parameters = list(module.named_parameters())
    copied = copy.copy(module)
    for (name, p), (other_name, q) in zip(parameters, copied.named_parameters(), strict=True):
        assert name == other_name
        assert q is p
    copied.add_module("extra", nn.ReLU())
    copied.register_buffer("more", tw.ones(1))
    copied.register_forward_hook(lambda *_: None)
    assert [name for name, _ in module.named_modules()] == before
    assert list(copied.named_children())[-1][0] == "extra"
    assert "more" not in module.state_dict()
    assert not module._forward_hooks
    del copied._names[next(iter(copied._names))]
    assert list(module.named_parameters()) == parameters


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_a_deep_copy_shares_nothing(make, twin):
    module = make()
    other = twin(module)
    assert list(other.state_dict()) == list(module.state_dict())
    for p, q in zip(module.parameters(), other.parameters(), strict=True):
        assert type(q) is nn.Parameter
        assert q.requires_grad
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
        with tw.no_grad():
            q += 1.0
        assert not np.array_equal(p.detach().numpy(), q.detach().numpy())
    other.extra = nn.ReLU()
    assert "extra" not in dict(module.named_children())


def test_tied_parameters_stay_tied():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    for twin in (copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        other = twin(module)
        assert other[1].weight is other[0].weight


def test_a_copied_sequential_plans_for_itself():
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = tw.ones(1, 2)
    module(x)
    copied = copy.copy(module)
    copied[1] = nn.Tanh()
    assert module(x).tolist() == module[1](module[0](x)).tolist()
    assert copied(x).tolist() == copied[1](module[0](x)).tolist()


# --- attributes ---


@pytest.mark.parametrize("make", [lambda: tw.ones(2), lambda: nn.Parameter(tw.ones(2))])
def test_attributes_on_tensors(make):
    t = make()
    t.my_note = [1]
    assert t.my_note == [1]
    assert copy.copy(t).my_note is t.my_note
    for twin in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert twin.my_note == [1]
        assert twin.my_note is not t.my_note
    for other in (t.detach(), t[:], t + 1, nn.Parameter(t.detach())):
        assert not hasattr(other, "my_note")
    del t.my_note
    assert not hasattr(t, "my_note")
    with pytest.raises(AttributeError):
        t.shape = (1,)


# --- where an index puts its axes ---


@pytest.mark.parametrize("index", [tw.tensor(1), tw.tensor(-1, dtype=tw.int32), np.array(1)])
def test_an_index_without_axes_is_a_number(index):
    x = tw.zeros(3, 2)
    row = x[index]
    assert row.shape == (2,)
    row += 1
    assert x[int(index)].tolist() == [1.0, 1.0]
    assert x[:, tw.tensor(0)].shape == (3,)
    x[index] = 5.0
    assert x.sum().item() == 10.0


def select(x, axis, i):
    return np.take(x, i, axis)


SELECTED = [  # the index, and the same by np.take, numbers first and the array then
    ((0, slice(None), [1, 2]), lambda x: select(select(x, 0, 0), 1, [1, 2])),
    ((slice(None), 0, [1, 2]), lambda x: select(select(x, 1, 0), 1, [1, 2])),
    (([1, 0], slice(None), 0), lambda x: select(select(x, 2, 0), 0, [1, 0])),
    ((0, Ellipsis, [1, 2]), lambda x: select(select(x, 0, 0), 1, [1, 2])),
    ((0, None, [1, 2]), lambda x: select(select(x, 0, 0), 0, [1, 2])[None]),
    ((0, slice(1, None), [[1, 2]]), lambda x: select(select(x, 0, 0)[1:], 1, [[1, 2]])),
    (([0, 1], slice(None), [1, 2]), lambda x: x[[0, 1], :, [1, 2]]),
    ((tw.tensor(0), slice(None), [1, 2]), lambda x: select(select(x, 0, 0), 1, [1, 2])),
    ((slice(None), [True, False, True], 1), lambda x: x[:, [0, 2]][:, :, 1]),
    ((0, [True, False, True]), lambda x: x[0][[0, 2]]),
]


@pytest.mark.parametrize(("key", "same"), SELECTED, ids=range(len(SELECTED)))
def test_numbers_choose_before_arrays(key, same):
    values = np.arange(24.0).reshape(2, 3, 4)
    key = tuple(tw.tensor(k) if isinstance(k, list) else k for k in key)
    x = tw.tensor(values, requires_grad=True)
    y = x[key]
    expected = same(values)
    assert np.array_equal(y.detach().numpy(), expected)
    weights = np.arange(1.0, expected.size + 1).reshape(expected.shape)
    (y * tw.tensor(weights)).sum().backward()
    wanted = np.zeros(24)
    np.add.at(wanted, expected.reshape(-1).astype(int), weights.reshape(-1))
    assert np.array_equal(x.grad.numpy(), wanted.reshape(2, 3, 4))
    written = tw.tensor(values)
    written[key] = tw.tensor(-weights)
    assert np.array_equal(same(written.numpy()), -weights)
    assert (written.numpy() != values).sum() == expected.size
