"""Modules: registration, state, conversion, fusing, initialisers, freezing."""

import copy
import math
import pickle

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn, optim


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()
        self.scale = nn.Parameter(tw.ones(1))
        self.register_buffer("mean", tw.zeros(3))
        self.register_buffer("cache", tw.zeros(3), persistent=False)
        self.tied = self.body[0]

    def forward(self, x):
        return self.body(x) * self.scale + self.mean


STATE = ["body.0.weight", "body.0.bias", "body.3.weight", "body.3.bias"]


def test_registration_and_names():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", *STATE]
    assert [n for n, _ in net.named_buffers()] == ["mean", "cache"]
    assert [n for n, _ in net.named_children()] == ["body", "tied"]
    assert len(list(net.modules())) == 6
    assert set(net.state_dict()) == {"scale", "mean", *STATE, "tied.weight", "tied.bias"}
    assert net.get_submodule("body.0") is net.tied
    del net.tied
    assert "tied.weight" not in net.state_dict()


def test_assignments_are_checked():
    net = Net()
    with pytest.raises(TypeError, match="a Parameter or None"):
        net.scale = tw.ones(1)
    with pytest.raises(TypeError, match="a Module or None"):
        net.body = 3
    net.mean = tw.ones(3)
    net.scale = None
    assert "scale" not in net.state_dict()
    with pytest.raises(KeyError, match="dots"):
        net.register_buffer("a.b", None)

    class Hasty(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Hasty()


@pytest.mark.parametrize("register", ["register_parameter", "register_buffer", "add_module"])
def test_only_the_kind_of_thing_is_registered(register):
    module = nn.Module()
    with pytest.raises(TypeError, match=rf"\[{register}\] .* or None; got ndarray"):
        getattr(module, register)("name", np.zeros(2))
    getattr(module, register)("name", None)
    assert not module.state_dict()


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 8),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Sequential(torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Softmax(dim=1)),
    )
    ours = nn.Sequential(
        nn.Linear(4, 8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Sequential(nn.GELU(), nn.Flatten(), nn.Softmax(dim=1)),
    )
    assert repr(ours) == repr(theirs)


def test_train_and_eval_reach_every_module():
    tw.manual_seed(0)  # two draws of a few dropout masks may be equal
    net = Net()
    assert not net.eval().body[2].training
    x = tw.ones(5, 4)
    assert tw.equal(net(x), net(x))
    assert net.train().body[2].training
    assert not tw.equal(net(x), net(x))


# --- state ---


def test_state_round_trips_and_raises_the_version():
    a, b = Net(), Net()
    before = b.scale._version
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert b.scale._version > before
    for name, value in a.state_dict().items():
        assert tw.equal(value, b.state_dict()[name])
    a.eval(), b.eval()
    assert tw.equal(a(tw.ones(2, 4)), b(tw.ones(2, 4)))


def test_every_fault_is_listed_and_nothing_changes():
    net = mlp()
    state = {k: v.clone() * 0 for k, v in net.state_dict().items()}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    del state["0.bias"]
    state["extra"] = tw.zeros(1)
    state["3.weight"] = tw.zeros(3, 9)
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        net.load_state_dict(state)
    for fault in ("missing: 0.bias", "unexpected: extra", "3.weight: (3, 8) here, (3, 9) there"):
        assert fault in str(caught.value)
    assert all(tw.equal(v, before[k]) for k, v in net.state_dict().items())
    del state["3.weight"]
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["0.bias", "3.weight"], ["extra"])
    assert not net[0].weight.any()


def test_what_is_no_array_is_refused():
    net = nn.Linear(1, 1)
    with pytest.raises(TypeError, match="an array under 'bias'"):
        net.load_state_dict({"weight": np.zeros((1, 1)), "bias": ["a"]})
    with pytest.raises(TypeError, match="names mapped to tensors; got list"):
        net.load_state_dict([np.zeros((1, 1))])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_a_live_pytorch_state_loads(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch gives the state here")
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    theirs = theirs.to(getattr(torch, dtype))
    held = "float32" if dtype == "float16" else dtype  # the narrowest of ours that holds it
    ours = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to(getattr(tw, held))
    ours.load_state_dict(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        got = ours.state_dict()[name]
        assert got.dtype.name == held
        assert got.double().tolist() == value.double().tolist()


def test_copies_are_independent():
    net = mlp()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        with tw.no_grad():
            twin[0].weight.zero_()
        assert net[0].weight.any()
        assert twin[3].weight.requires_grad
        twin(tw.ones(1, 4))


def test_conversion_keeps_parameters_identity():
    net = mlp()
    weight = net[0].weight
    net(tw.ones(1, 4)).sum().backward()
    assert net.double()[0].weight is weight
    assert weight.dtype == weight.grad.dtype == tw.float64
    assert net(tw.ones(1, 4, dtype=tw.float64)).dtype == tw.float64
    with pytest.raises(TypeError, match="a float dtype"):
        net.to(tw.int64)


# --- fusing ---


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Tanh(), nn.Sigmoid()],
    ids=repr,
)
def test_sequential_fuses_without_changing_numbers(activation):
    tw.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), activation, nn.Linear(7, 2)).double()
    x = tw.randn(3, 5, dtype=tw.float64, requires_grad=True)
    net(x).sum().backward()
    fused = [x.grad, *(p.grad for p in net.parameters())]
    x.grad = None
    net.zero_grad()
    net[2](activation(net[0](x))).sum().backward()
    apart = [x.grad, *(p.grad for p in net.parameters())]
    for a, b in zip(fused, apart, strict=True):
        # The same sums in another order: a few roundings of numbers of order 1.
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=64 * np.finfo(float).eps)


FUSING = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 7)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 5, 6)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 7)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 6)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), (2, 4, 5, 6)),
}


@pytest.mark.parametrize("name", FUSING)
def test_sequential_fuses_what_takes_an_activation(name, monkeypatch):
    make, shape = FUSING[name]
    layer = make().double()
    x = tw.randn(*shape, dtype=tw.float64)
    for activation in (nn.ReLU(), nn.SiLU()):
        net, apart = nn.Sequential(layer, activation), activation(layer(x)).detach()
        np.testing.assert_allclose(net(x).detach().numpy(), apart.numpy(), rtol=0, atol=1e-13)
        if activation.fused in layer.fuses:
            with monkeypatch.context() as patch:
                patch.setattr(type(activation), "forward", lambda self, x: x * np.nan)
                assert tw.isfinite(net(x)).all()


def test_sequential_honours_hooks_subclasses_and_changes():
    calls = []

    class Loud(nn.ReLU):
        def forward(self, input):
            calls.append("loud")
            return super().forward(input)

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = tw.ones(1, 2)
    net(x)
    handle = net[0].register_forward_hook(lambda m, args, out: calls.append("hook"))
    net(x)
    assert calls == ["hook"]
    handle.remove()
    net[1] = Loud()
    net(x)
    assert calls == ["hook", "loud"]
    net[0].register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    assert tw.equal(net(x), F.relu(net[0].bias).reshape(1, 2))
    net.append(nn.Flatten()).insert(0, nn.Identity())
    assert [type(m).__name__ for m in net] == ["Identity", "Linear", "Loud", "Flatten"]
    del net[0]
    assert len(net[1:]) == 2


def test_sequential_honours_a_forward_put_on_an_instance():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = tw.ones(1, 2)
    before = model(x)
    model[0].forward = lambda x: x * 0 + 7
    assert model(x).tolist() == [[7.0, 7.0]]
    del model[0].forward
    assert model(x).tolist() == before.tolist()


def test_a_loaded_sequential_makes_its_own_plan():
    """A plan's date is counted in this process; in another, a hook could bear the same one."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model(tw.ones(1, 2))
    assert model._plan is not None
    assert pickle.loads(pickle.dumps(model))._plan is None
    assert copy.deepcopy(model)._plan is None


def test_sequential_follows_a_changed_formula():
    net = nn.Sequential(nn.Linear(2, 2), nn.GELU())
    x = tw.ones(1, 2)
    net(x)
    net[1].approximate = "tanh"
    # One formula in one dtype, fused or not: a few roundings apart.
    limit = 8 * np.finfo(np.float32).eps
    exact = F.gelu(net[0](x), approximate="tanh")
    assert (net(x) - exact).abs().max().item() <= limit * exact.abs().max().item()


# --- initialisers ---


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), 2 / 300),
        (lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), 2 / 200),
        (lambda w: nn.init.xavier_uniform_(w), 2 / 500),
        (lambda w: nn.init.xavier_normal_(w, gain=2.0), 8 / 500),
        (lambda w: nn.init.uniform_(w, -1.0, 1.0), 1 / 3),
        (lambda w: nn.init.normal_(w, 0.0, 0.5), 0.25),
        (lambda w: nn.Linear(300, 200).weight.detach(), 1 / 900),
    ],
)
def test_initialisers_have_their_variance(make, variance):
    tw.manual_seed(1)
    w = make(tw.empty(200, 300)).double()
    n = w.numel()
    # The sample mean errs by sqrt(variance / n), the sample variance by at most sqrt(2 / n) of
    # itself.
    assert abs(w.mean().item()) < 5 * math.sqrt(variance / n)
    assert abs(w.var().item() / variance - 1) < 5 * math.sqrt(2 / n)


def test_truncated_normal_and_constants():
    w = nn.init.trunc_normal_(tw.empty(1000), a=-1.0, b=0.5)
    assert -1 <= w.min().item() < w.max().item() <= 0.5
    assert nn.init.eye_(tw.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert nn.init.ones_(nn.Parameter(tw.empty(2))).tolist() == [1, 1]


# --- utils ---


def test_a_state_is_loaded_whole_or_not_at_all():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.utils.freeze(model[1])
    before = {name: t.tolist() for name, t in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="frozen"):
        model.load_state_dict(
            {name: np.full(t.shape, 7.0) for name, t in model.state_dict().items()}
        )
    assert {name: t.tolist() for name, t in model.state_dict().items()} == before


def test_frozen_weights_are_read_only_and_packed():
    layer = nn.Linear(64, 128)
    x = tw.randn(3, 64)
    plain = layer(x)
    nn.utils.freeze(layer)
    packed = layer(x)
    assert layer.weight._storage.packed.value is not None
    # Packing moves numbers; the products and their sums may be cut elsewhere.
    bound = 64 * np.finfo(np.float32).eps * (x.abs() @ layer.weight.abs().t()).max().item()
    assert (plain.detach() - packed).abs().max().item() <= bound
    with pytest.raises(RuntimeError, match="unfreeze"):
        layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="unfreeze"):
        layer.load_state_dict(layer.state_dict())
    nn.utils.unfreeze(layer)
    with tw.no_grad():
        layer.weight.zero_()
    assert tw.equal(layer(x), layer.bias.expand(3, 128))
    assert layer.weight.requires_grad


@pytest.mark.parametrize("dtype", [tw.float32, tw.bfloat16])
def test_frozen_convolutions_are_packed(dtype):
    layers = (
        (nn.Conv2d(32, 64, 3, padding=1), (2, 32, 7, 9)),
        (nn.Conv1d(32, 64, 3), (2, 32, 19)),
        (nn.Conv2d(64, 64, 1), (1, 64, 5, 5)),
    )
    for layer, shape in layers:
        layer.to(dtype)
        x = tw.randn(*shape).to(dtype)
        plain = layer(x).detach()
        nn.utils.freeze(layer)
        first, second = layer(x), layer(x)
        value = layer.weight._storage.packed.value
        assert tw.equal(first, second)
        assert (first - plain).abs().max().item() <= 0.02 * plain.abs().max().item()
        assert layer.weight._storage.packed.value is value
        if tw.engines.current_engine() == "native":
            assert value.nbytes > 0


def test_frozen_weights_stay_so_in_another_dtype():
    layer = nn.utils.freeze(nn.Linear(4, 4)).double()
    with pytest.raises(RuntimeError, match="unfreeze"):
        layer.weight.zero_()
    assert not layer.weight.numpy().flags.writeable
    assert nn.utils.unfreeze(layer).weight.requires_grad


def test_packed_weights_follow_every_write():
    layer = nn.Linear(64, 128, bias=False)
    x = tw.ones(128, 64)  # enough rows for the routine that reads packed weights
    with tw.no_grad():
        for value in (1.0, 2.0):
            layer.weight.fill_(value)
            for _ in range(3):
                assert layer(x)[0, 0].item() == 64 * value
        assert layer.weight._storage.packed.value is not None
        array = layer.weight.detach().numpy()
        array[:] = 3
        assert layer(x)[0, 0].item() == 192
        assert layer.weight._storage.packed is None


def test_packed_convolutions_follow_every_write():
    layer = nn.Conv2d(32, 32, 3, bias=False)
    x = tw.ones(1, 32, 3, 3)
    with tw.no_grad():
        for value in (1.0, 2.0):
            layer.weight.fill_(value)
            for _ in range(3):
                assert layer(x)[0, 0].item() == 288 * value
        assert layer.weight._storage.packed.value is not None
        layer.weight.detach().numpy()[:] = 3
        assert layer(x)[0, 0].item() == 864
        assert layer.weight._storage.packed is None


def test_clipping():
    p, q = (nn.Parameter(tw.zeros(2)) for _ in range(2))
    p.grad, q.grad = tw.tensor([3.0, 0.0]), tw.tensor([0.0, 4.0])
    assert nn.utils.clip_grad_norm_([p, q], 1.0).item() == 5.0
    np.testing.assert_allclose(p.grad.tolist() + q.grad.tolist(), [0.6, 0, 0, 0.8], rtol=1e-6)
    assert nn.utils.clip_grad_norm_([p, q], 10.0, float("inf")).item() == pytest.approx(0.8)
    nn.utils.clip_grad_value_([p, q], 0.5)
    assert q.grad.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("dtype", [tw.float32, tw.float64, tw.bfloat16])
def test_clipping_sees_every_element(dtype):
    """One-element tensors, empty ones, strided gradients, and more than one block."""
    rng = np.random.default_rng(0)
    shapes = [(1,), (), (0, 3), (5, 7), (40000,), (3, 4, 5)]
    params = [nn.Parameter(tw.zeros(shape, dtype=dtype)) for shape in shapes]
    for p in params:
        p.grad = tw.tensor(rng.standard_normal(p.shape), dtype=dtype)
    params[3].grad = tw.tensor(rng.standard_normal((7, 5)), dtype=dtype).t()
    given = [p.grad.double().numpy().copy() for p in params]
    before = params[4].grad._version
    total = np.sqrt(sum(np.square(g).sum() for g in given))
    eps = {tw.float32: 2.0**-23, tw.float64: 2.0**-52, tw.bfloat16: 2.0**-7}[dtype]
    norm = nn.utils.clip_grad_norm_(params, 1.0)
    assert norm.dtype == dtype
    assert abs(norm.item() - total) <= eps * total
    for p, g in zip(params, given, strict=True):
        wanted = g / (total + 1e-6)
        assert np.all(np.abs(p.grad.double().numpy() - wanted) <= 2 * eps * np.abs(wanted))
    assert params[4].grad._version > before


def test_clipping_squares_without_overflow():
    p = nn.Parameter(tw.zeros(3))
    p.grad = tw.full((3,), 1e30)
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == pytest.approx(3**0.5 * 1e30)
    assert p.grad.tolist() == pytest.approx([3**-0.5] * 3)


def test_parameters_as_one_vector():
    net = mlp()
    vector = nn.utils.parameters_to_vector(net.parameters())
    nn.utils.vector_to_parameters(vector.detach() * 0 + 1, net.parameters())
    assert all((p == 1).all() for p in net.parameters())
    with pytest.raises(ValueError, match="a vector"):
        nn.utils.vector_to_parameters(tw.zeros(3), net.parameters())


def test_a_network_learns():
    tw.manual_seed(0)
    x = tw.randn(128, 4)
    target = (x[:, 0] * x[:, 1] > 0).long()
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    optimiser = optim.Adam(net.parameters(), lr=0.02)
    criterion = nn.CrossEntropyLoss()
    for _ in range(200):
        optimiser.zero_grad()
        loss = criterion(net(x), target)
        loss.backward()
        optimiser.step()
    assert (net(x).argmax(1) == target).float().mean().item() > 0.97


def test_dropout_in_place_writes_its_input():
    for model in (nn.Dropout(0.5, inplace=True), nn.Dropout(0.5)):
        tw.manual_seed(3)
        x = tw.ones(100)
        y = model(x)
        assert (y is x) is model.inplace
        assert set(y.tolist()) == {0.0, 2.0}
        assert tw.equal(x, y) is model.inplace
        assert model.eval()(x) is x


@pytest.mark.parametrize("dtype", [tw.float32, tw.bfloat16])
@pytest.mark.parametrize(
    "function", [F.dropout1d, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout, F.rrelu]
)
def test_what_is_drawn_in_place_writes_its_input(function, dtype):
    before = -tw.ones(5, 4, 3, dtype=dtype)
    x = before.clone()
    y = function(x, training=True, inplace=True)
    assert y is x
    assert not tw.equal(x, before)
    assert function(x, training=False, inplace=True) is x


def test_dropout_in_place_keeps_gradients():
    start = tw.ones(50, requires_grad=True)
    x = start * 3
    y = nn.Dropout(0.5, inplace=True)(x)
    assert y is x
    y.sum().backward()
    assert start.grad.tolist() == y.tolist()  # 3 * (0 or 2)
    with pytest.raises(RuntimeError, match="leaf that requires grad"):
        F.dropout(start, 0.5, inplace=True)


def test_skip_init_draws_nothing():
    tw.manual_seed(0)
    state = tw.get_rng_state()
    layer = nn.utils.skip_init(nn.Linear, 3, out_features=2)
    assert layer.weight.shape == (2, 3)
    with pytest.raises(ValueError, match="num_heads"):
        nn.utils.skip_init(nn.MultiheadAttention, 3, 2)
    assert tw.equal(tw.get_rng_state(), state)
    nn.Linear(3, 2)
    assert not tw.equal(tw.get_rng_state(), state)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_transformers_batches_are_of_one_size(batch_first):
    model = nn.Transformer(4, 2, 1, 1, 8, batch_first=batch_first)
    with pytest.raises(ValueError, match=r"\[Transformer\].*as many sequences"):
        model(
            tw.ones(1, 2, 4).transpose(0, batch_first), tw.ones(3, 1, 4).transpose(0, batch_first)
        )


def test_a_state_can_be_assigned():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net[0].bias.requires_grad_(False)
    before = net[0].weight
    state = {name: value.double() for name, value in net.state_dict().items()}
    state["1.num_batches_tracked"] = tw.tensor(7)
    assert net.load_state_dict(state, assign=True) == ([], [])
    assert net[0].weight is not before
    assert net[0].weight.dtype == net[1].running_mean.dtype == tw.float64
    assert (net[0].weight.requires_grad, net[0].bias.requires_grad) == (True, False)
    assert isinstance(net[0].weight, nn.Parameter)
    assert list(net.state_dict()) == list(state)
    assert net(tw.ones(4, 2, dtype=tw.float64)).dtype == tw.float64
    values = np.ones((3, 2), np.float32)
    net[0].load_state_dict({"weight": values, "bias": np.zeros(3, np.float32)}, assign=True)
    values[:] = 5
    assert net[0].weight.tolist() == [[1.0, 1.0]] * 3
    with pytest.raises(ValueError, match="load_state_dict"):
        net.load_state_dict({"x": tw.ones(1)}, assign=True)
