"""Normalising functions and layers: PyTorch's numbers, state and errors; and folding."""

import copy
import pickle

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing.inputs import laid_out
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.tolerance import eps

RNG = np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is the judge here, where installed")


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# Each layer, as both libraries make it, and an input's shape.
LAYERS = {
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(5), (8, 5)),
    "BatchNorm1d of sequences": (lambda nn: nn.BatchNorm1d(5, eps=1e-3), (4, 5, 7)),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(6, momentum=0.3), (4, 6, 5, 3)),
    "BatchNorm2d, mean of all": (lambda nn: nn.BatchNorm2d(6, momentum=None), (4, 6, 5, 3)),
    "BatchNorm2d, plain": (lambda nn: nn.BatchNorm2d(6, affine=False), (4, 6, 5, 3)),
    "BatchNorm2d, no statistics": (
        lambda nn: nn.BatchNorm2d(6, track_running_stats=False),
        (4, 6, 5, 3),
    ),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(5), (3, 5, 7)),
    "InstanceNorm1d of one": (lambda nn: nn.InstanceNorm1d(5), (5, 7)),
    "InstanceNorm2d": (
        lambda nn: nn.InstanceNorm2d(5, affine=True, track_running_stats=True),
        (3, 5, 7, 4),
    ),
    "GroupNorm": (lambda nn: nn.GroupNorm(3, 6), (4, 6, 5, 3)),
    "GroupNorm, plain": (lambda nn: nn.GroupNorm(2, 6, affine=False), (4, 6)),
    "LayerNorm": (lambda nn: nn.LayerNorm(30), (4, 6, 30)),
    "LayerNorm over two": (lambda nn: nn.LayerNorm((6, 30)), (4, 6, 30)),
    "LayerNorm, no bias": (lambda nn: nn.LayerNorm([30], bias=False), (4, 30)),
    "RMSNorm": (lambda nn: nn.RMSNorm(30), (4, 6, 30)),
    "RMSNorm, plain": (lambda nn: nn.RMSNorm((6, 30), 1e-3, False), (4, 6, 30)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_do_what_pytorchs_do(torch, name):
    make, shape = LAYERS[name]
    ours, theirs = make(nn), make(torch.nn)
    for p in theirs.parameters():
        p.data = torch.from_numpy(normal(*p.shape))
    ours.load_state_dict(theirs.state_dict())  # the keys are PyTorch's
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        data = 2 * normal(*shape) + 1
        x, t = tw.from_numpy(data).requires_grad_(), torch.tensor(data, requires_grad=True)
        grad = normal(*shape)
        ours.zero_grad(), theirs.zero_grad()
        y, expected = ours(x), theirs(t)
        y.backward(tw.from_numpy(grad)), expected.backward(torch.from_numpy(grad))
        pairs = [(y.detach(), expected.detach()), (x.grad, t.grad)]
        pairs += [
            (p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)
        ]
        pairs += zip(ours.buffers(), theirs.buffers(), strict=True)
        for found, wanted in pairs:
            wanted = wanted.numpy()
            bound = 64 * np.finfo(np.float32).eps * (1 + np.abs(wanted).max(initial=0))
            np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=bound)


def test_repr_is_pytorchs(torch):
    for make, _ in LAYERS.values():
        ours, theirs = repr(make(nn)), repr(make(torch.nn))
        if ", bias=" not in theirs:  # PyTorch says so since 2.13
            ours = ours.replace(", bias=True", "").replace(", bias=False", "")
        assert ours == theirs


def test_states_of_norms_survive(tmp_path):
    layer = nn.BatchNorm2d(3)
    layer(tw.randn(4, 3, 5, 5))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert int(twin.num_batches_tracked.numpy()) == 1
        assert tw.equal(twin.running_var, layer.running_var)
    layer.reset_parameters()
    assert int(layer.num_batches_tracked.numpy()) == 0
    assert layer.running_mean.tolist() == [0.0] * 3
    assert nn.BatchNorm2d(3).double().num_batches_tracked.dtype == tw.int64


def test_statistics_are_written_where_the_tape_can_see():
    layer, x = nn.BatchNorm1d(2), tw.randn(4, 2, requires_grad=True)
    y = (layer.running_var * x).sum()
    layer(x)
    with pytest.raises(RuntimeError, match="modified since"):
        y.backward()
    nn.utils.freeze(layer)  # parameters alone: statistics move on
    before = layer.running_mean.clone()
    layer(x)
    assert not tw.equal(before, layer.running_mean)


def test_no_gradient_reaches_what_does_not_ask():
    layer, x = nn.BatchNorm1d(3), tw.randn(4, 3)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    assert x.grad is None
    assert layer.weight.grad is None
    assert layer.bias.grad.tolist() == [4.0] * 3
    layer(tw.randn(4, 3, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_bfloat16_is_rounded_once(training):
    x = tw.randn(8, 3, 5, 5).bfloat16()
    for dtype in (tw.float32, tw.bfloat16):
        layer = nn.BatchNorm2d(3).to(dtype).train(training)
        wide = copy.deepcopy(layer).float()
        y, expected = layer(x), wide(x.float())
        assert y.dtype == tw.bfloat16
        assert tw.equal(y, expected.bfloat16())
        assert tw.equal(layer.running_var, wide.running_var.to(dtype))
    for make in (lambda: nn.LayerNorm(5), lambda: nn.RMSNorm(5), lambda: nn.GroupNorm(3, 3)):
        layer = make().bfloat16()
        assert tw.equal(layer(x), copy.deepcopy(layer).float()(x.float()).bfloat16())


def test_activation_and_residual_in_one_pass():
    layer, x, r = nn.BatchNorm2d(4), tw.randn(2, 4, 3, 3), tw.randn(2, 4, 3, 3)
    twin = copy.deepcopy(layer)
    assert tw.equal(layer(x, activation="relu", residual=r), (twin(x) + r).relu())


def test_normal_form():
    x = 3 * tw.randn(6, 4, 20) - 5
    for y, axes in (
        (F.batch_norm(x, None, None, training=True), (0, 2)),
        (F.layer_norm(x, (4, 20)), (1, 2)),
        (F.instance_norm(x), (2,)),
        (F.group_norm(x.reshape(6, 2, 40), 2), (2,)),
    ):
        np.testing.assert_allclose(y.numpy().mean(axes), 0, atol=1e-6)
        np.testing.assert_allclose(y.numpy().std(axes), 1, rtol=1e-5)


NORMS = {
    "batch_norm": ((4, 3, 5), (3,), lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batch_norm, running": (
        (4, 3, 5), (3,),
        lambda x, w, b: F.batch_norm(x, tw.zeros(3).double(), tw.ones(3).double() * 2, w, b)),
    "batch_norm and relu": (
        (4, 3, 5), (3,),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, activation="relu", residual=x)),
    "layer_norm": ((4, 3, 5), (3, 5), lambda x, w, b: F.layer_norm(x, (3, 5), w, b)),
    "layer_norm, plain": ((4, 5), (1,), lambda x, w, b: F.layer_norm(x, (5,)) * w + b),
    "rms_norm": ((4, 3, 5), (5,), lambda x, w, b: F.rms_norm(x, (5,), w, 1e-5) + b),
    "group_norm": ((4, 6, 5), (6,), lambda x, w, b: F.group_norm(x, 2, w, b)),
    "group_norm as square maps": ((2, 4, 4), (4,), lambda x, w, b: F.group_norm(x, 1, w, b)),
    "instance_norm": ((4, 3, 5), (3,), lambda x, w, b: F.instance_norm(x, weight=w, bias=b)),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_second_derivatives(name):
    """Of each input, along a direction: beside differences of the first, which a kernel makes."""
    shape, parameters, call = NORMS[name]
    rng = np.random.default_rng(7)
    inputs = [
        tw.tensor(rng.standard_normal(s), requires_grad=True)
        for s in (shape, parameters, parameters)
    ]
    along = [tw.tensor(rng.standard_normal(x.shape)) for x in inputs]

    def slope(values, create_graph=False):
        """The first derivative along `along`."""
        loss = (call(*values) ** 3).sum()
        grads = tw.autograd.grad(loss, values, create_graph=create_graph)
        return sum((g * a).sum() for g, a in zip(grads, along, strict=True))

    got = tw.autograd.grad(slope(inputs, create_graph=True), inputs)
    h = eps("float64") ** (1 / 3)
    for i, second in enumerate(got):
        step = rng.standard_normal(second.shape)
        moved = []
        for sign in (h, -h):
            values = [x.detach().clone() for x in inputs]
            values[i] += sign * tw.tensor(step)
            moved.append(slope([x.requires_grad_() for x in values]).item())
        expected = (moved[0] - moved[1]) / (2 * h)
        size = 1 + float(np.abs(second.numpy() * step).sum()) + abs(moved[0])
        assert abs((second.numpy() * step).sum() - expected) <= 100 * h * h * size


BAD = {
    r"\[batch_norm\] expected input \(N, C, ...\); got \(3,\)": lambda: F.batch_norm(
        tw.ones(3), None, None, training=True
    ),
    r"more than one value a channel in training; got \(1, 3\)": lambda: nn.BatchNorm1d(3)(
        tw.ones(1, 3)
    ),
    r"more than one value a channel in training; got \(0, 3, 2, 2\)": lambda: nn.BatchNorm2d(3)(
        tw.ones(0, 3, 2, 2)
    ),
    r"running_mean and running_var in inference; got None": lambda: F.batch_norm(
        tw.ones(2, 3), None, None
    ),
    r'activation "none" or "relu"; got \'gelu\'': lambda: F.batch_norm(
        tw.ones(2, 3), None, None, training=True, activation="gelu"
    ),
    r"weight \(3,\) beside input \(2, 3\); got \(2,\)": lambda: F.batch_norm(
        tw.ones(2, 3), None, None, tw.ones(2), training=True
    ),
    r"residual \(2, 3\) beside input": lambda: F.batch_norm(
        tw.ones(2, 3), None, None, training=True, residual=tw.ones(2, 1)
    ),
    r"\[BatchNorm2d\] expected input of 4 axes; got \(2, 3\)": lambda: nn.BatchNorm2d(3)(
        tw.ones(2, 3)
    ),
    r"\[layer_norm\] expected input whose last axes are \(4,\); got \(2, 3\)": lambda: F.layer_norm(
        tw.ones(2, 3), 4
    ),
    r"\[rms_norm\] expected input whose last axes are \(1, 2, 3\)": lambda: F.rms_norm(
        tw.ones(2, 3), (1, 2, 3)
    ),
    r"\[group_norm\] .* got 4 groups of 6 channels": lambda: F.group_norm(tw.ones(2, 6, 2), 4),
    r"\[GroupNorm\] .* got 4 groups of 6 channels": lambda: nn.GroupNorm(4, 6),
    r"\[instance_norm\] expected more than one value a channel": lambda: F.instance_norm(
        tw.ones(2, 6, 1)
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_raises(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError, match=r"\[layer_norm\] expected `input` of a float dtype"):
        F.layer_norm(tw.ones(2, 3, dtype=tw.int64), 3)
    with pytest.raises(TypeError, match=r"weight of the input's dtype, float32; got float64"):
        F.rms_norm(tw.ones(2, 3), 3, tw.ones(3).double())


# --- folding ---


def settled(model, *shape):
    """The model with statistics and parameters of some use."""
    for p in model.parameters():
        p._array[...] += 0.3 * normal(*p.shape)
    for _ in range(3):
        model(tw.from_numpy(normal(*shape) + 1))
    return model.eval()


class Block(nn.Module):
    """torchvision's way to write a block."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1, groups=2)
        self.bn2 = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.bn1(self.conv1(x), activation="relu")
        return self.bn2(self.conv2(y), activation="relu", residual=x)


FOLDED = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)),
        (9, 7),
    ),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (3, 4, 9)),
    "conv2d": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6, affine=False)),
        (3, 4, 9, 9),
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)),
        (2, 4, 5, 5),
    ),
    "block": (lambda: nn.Sequential(Block(), Block()), (2, 4, 6, 6)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_fused_model_gives_the_same(name):
    make, shape = FOLDED[name]
    model = settled(make(), *shape)
    before = copy.deepcopy(model.state_dict())
    x = tw.from_numpy(normal(*shape))
    fused = nn.utils.fuse(model.train(), x)
    assert model.training
    assert not fused.training
    assert not any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in fused.modules())
    expected = model.eval()(x).detach().numpy()
    found, size = fused(x).detach().numpy(), np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * size)
    assert all(np.array_equal(v.numpy(), before[k].numpy()) for k, v in model.state_dict().items())


def test_fuse_leaves_what_it_must():
    conv, norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    kept = [
        nn.Sequential(norm, conv),
        nn.Sequential(conv, nn.ReLU(), norm),
        nn.Sequential(conv, nn.BatchNorm2d(3, track_running_stats=False)),
        nn.Sequential(nn.Sequential(conv, norm), conv),  # the same layer twice
        nn.ModuleList([conv, norm]),
    ]
    hooked = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    hooked[0].register_forward_hook(lambda *_: None)
    for model in (*kept, hooked):
        assert repr(nn.utils.fuse(model)) == repr(model)


def test_an_example_shows_a_wrong_fold():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)
            self.bn = nn.BatchNorm2d(4)

        def forward(self, x):
            return self.conv(x) + self.bn(self.conv(x))

    with pytest.raises(ValueError, match=r"\[fuse\] expected the model's own output"):
        nn.utils.fuse(settled(Twice(), 2, 4, 6, 6), tw.from_numpy(normal(2, 4, 6, 6)))


def _of_sum(norm, x, h, fused, **parameters):
    """(norm, sum) of x + h, in one call or in two."""
    if fused:
        return norm(h, (5,), *parameters.values(), residual=x)
    total = x + h
    return norm(total, (5,), *parameters.values()), total


@pytest.mark.parametrize("norm", [F.layer_norm, F.rms_norm])
@pytest.mark.parametrize("wanted", ["everything", "the weight", "the sum", "after a view"])
def test_a_norm_with_a_residual_has_the_gradients_of_its_parts(norm, wanted):
    found = []
    for fused in (True, False):
        rng = np.random.default_rng(0)
        x, h, a, b = (tw.tensor(rng.standard_normal((4, 5))) for _ in range(4))
        weight = tw.tensor(np.linspace(0.5, 2.0, 5), requires_grad=True)
        for leaf in (x, h):
            leaf.requires_grad_(wanted != "the weight")
        y, total = _of_sum(norm, x, h, fused, weight=weight)
        if wanted == "after a view":  # of which a part has come before the norm's turn
            (total[:, :2] * a[:, :2]).sum().backward(retain_graph=True)
        loss = (y * a + total * b).sum()
        if wanted == "the sum":
            found.append(tw.autograd.grad(loss, (total, weight)))
            continue
        loss.backward()
        found.append([leaf.grad for leaf in (x, h, weight) if leaf.requires_grad])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-12, atol=1e-12)


def test_a_norm_with_a_residual_in_bfloat16_is_its_parts():
    rng = np.random.default_rng(0)
    x, h = (tw.tensor(rng.standard_normal((4, 5))).bfloat16() for _ in range(2))
    one, two = (_of_sum(F.layer_norm, x, h, fused) for fused in (True, False))
    for a, b in zip(one, two, strict=True):
        assert a.dtype is tw.bfloat16
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_sum_written_since_stops_the_norms_backward():
    x = tw.ones(2, 5, requires_grad=True)
    y, total = F.layer_norm(tw.ones(2, 5), (5,), residual=x)
    total += 1
    with pytest.raises(RuntimeError, match="layer_norm"):
        y.sum().backward()


@pytest.mark.parametrize("target", [t for t in TARGETS if t.serves("norm")], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("place", [0, 5000, -1])
def test_an_infinity_is_in_the_running_mean(target, layout, place):
    """And the variance is not a number, wherever among the blocks of a channel it lies."""
    if reason := target.refusal():
        pytest.skip(reason)
    x = normal(2, 5, 90, 30)
    channel = x[:, 2].reshape(-1)
    channel[place] = np.inf
    x[:, 2] = channel.reshape(2, 90, 30)
    mean, var = tw.zeros(5), tw.ones(5)
    with running_on(target):
        F.batch_norm(tw.from_numpy(laid_out(x, layout)), mean, var, training=True)
    others = [0, 1, 3, 4]
    assert mean.numpy()[2] == np.inf
    assert np.isnan(var.numpy()[2])
    wanted = 0.1 * x[:, others].mean((0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(mean.numpy()[others], wanted, 0, 2 * eps("float32"))
