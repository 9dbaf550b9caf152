"""Convolutions beyond their cases: refusals, second gradients, memory layouts, the layers."""

import copy
import pickle

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import io, nn, optim
from tilework.testing.tolerance import assert_close, eps, growth

X, W = (2, 6, 9, 8), (4, 6, 3, 3)


def in_kernel_order(x):
    """Whether a weight lies as (*kernel, I, O), without gaps."""
    return x.transpose(*range(2, x.ndim), 1, 0).flags.c_contiguous


def in_channels_last(x):
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def normal(*shape, dtype="float32", **options):
    x = np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)
    return tw.tensor(x, **options)


# --- refusals ---

# The call, the shapes of its tensors, and what the message must hold.
REFUSED = {
    "channels last": (
        lambda x, w: F.conv2d(x, w), ((8, 224, 224, 3), (5, 3, 3, 3)),
        "[conv2d] expected input (N, C_in=3, H, W); got (8, 224, 224, 3): "
        "move the channels with x.permute(0, 3, 1, 2)"),
    "channels last, 1-d": (
        lambda x, w: F.conv1d(x, w), ((8, 20, 3), (5, 3, 3)), "x.permute(0, 2, 1)"),
    "other channels": (lambda x, w: F.conv2d(x, w), (X, (4, 5, 3, 3)), "C_in=5"),
    "other channels, grouped": (
        lambda x, w: F.conv2d(x, w, groups=3), (X, (6, 6, 3, 3)), "C_in=18"),
    "rank": (lambda x, w: F.conv2d(x, w), ((6, 9), W), "(N, C, H, W) or (C, H, W)"),
    "rank, 1-d": (lambda x, w: F.conv1d(x, w), (X, (4, 6, 3)), "(N, C, L) or (C, L)"),
    "rank of the weight": (lambda x, w: F.conv2d(x, w), (X, (4, 6, 3)), "weight (C_out, C_in"),
    "groups": (lambda x, w: F.conv2d(x, w, groups=4), (X, (4, 1, 3, 3)), "C_in=4"),
    "groups of outputs": (
        lambda x, w: F.conv2d(x, w, groups=2), (X, (5, 3, 3, 3)), "groups=2 for 6 and 5"),
    "no groups": (lambda x, w: F.conv2d(x, w, groups=0), (X, W), "groups"),
    "too small": (
        lambda x, w: F.conv2d(x, w, dilation=4), (X, W), "holds a window of (9, 9); got (9, 8)"),
    "an empty image": (lambda x, w: F.conv2d(x, w), ((2, 6, 0, 8), W), "holds a window"),
    "same with stride": (lambda x, w: F.conv2d(x, w, stride=2, padding="same"), (X, W), "stride 1"),
    "a word": (lambda x, w: F.conv2d(x, w, padding="full"), (X, W), "'same' or 'valid'"),
    "stride 0": (lambda x, w: F.conv2d(x, w, stride=0), (X, W), "stride of 2 whole numbers from 1"),
    "no stride": (lambda x, w: F.conv2d(x, w, stride=None), (X, W), "stride of 2"),
    "strides": (lambda x, w: F.conv2d(x, w, stride=(1, 1, 1)), (X, W), "stride of 2"),
    "half a stride": (lambda x, w: F.conv2d(x, w, stride=1.5), (X, W), "stride of 2"),
    "negative padding": (lambda x, w: F.conv2d(x, w, padding=-1), (X, W), "padding of 2"),
    "bias": (lambda x, w, b: F.conv2d(x, w, b), (X, W, (6,)), "bias (4,)"),
    "residual": (
        lambda x, w, r: F.conv2d(x, w, residual=r), (X, W, (2, 4, 9, 8)),
        "residual (2, 4, 7, 6)"),
    "activation": (lambda x, w: F.conv2d(x, w, activation="swish"), (X, W), "activation among"),
    "transposed channels": (
        lambda x, w: F.conv_transpose2d(x, w), (X, (4, 6, 3, 3)), "C_in=4"),
    "output_padding": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, output_padding=2), (X, (6, 4, 3, 3)),
        "output_padding below stride or dilation"),
    "nothing left": (
        lambda x, w: F.conv_transpose2d(x, w, padding=5), ((1, 6, 2, 2), (6, 4, 3, 3)),
        "at least one element"),
    "unfold": (lambda x: F.unfold(x, 10), (X,), "holds a window"),
    "unfold of a vector": (lambda x: F.unfold(x, 2), ((4,),), "(N, C, H, W)"),
    "fold": (lambda x: F.fold(x, (4, 4), 2), ((1, 8, 10),), "(N, C * 4, 9)"),
    "pad": (lambda x: F.pad(x, (8, 0), "reflect"), (X,), "at most 7 of reflect padding"),
    "pad around": (lambda x: F.pad(x, (9, 0), "circular"), (X,), "at most 8 of circular"),
    "pad with a value": (lambda x: F.pad(x, (1, 0), "circular", 2.0), (X,), "no value"),
    "pad in a strange mode": (lambda x: F.pad(x, (1, 0), "wrap"), (X,), "mode among"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    call, shapes, words = REFUSED[name]
    with pytest.raises(ValueError, match=r"^\[\w+\] expected .*; got .*: .") as found:
        call(*(tw.ones(*shape) for shape in shapes))
    assert words in str(found.value)


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_refuses_mixed_dtypes_and_arrays(function):
    x, w = tw.ones(1, 2, 3, 3), tw.ones(2, 2, 2, 2)
    for images, weight in ((x, w.double()), (x.long(), w.long()), (x, w.numpy())):
        with pytest.raises(TypeError, match=r"^\[conv"):
            function(images, weight)


def test_settings_come_as_numbers_or_sequences():
    x, w = normal(*X), normal(*W)
    right = F.conv2d(x, w, None, (2, 2), (1, 1)).numpy()
    for stride, padding in ((2, 1), ([2, 2], [1]), (np.array([2, 2]), np.int64(1))):
        np.testing.assert_array_equal(F.conv2d(x, w, None, stride, padding).numpy(), right)


def test_zero_sized_batches_give_empty_images_and_zero_gradients():
    x, w, b = (normal(*s, requires_grad=True) for s in ((0, 6, 9, 8), W, (4,)))
    y = F.conv2d(x, w, b, padding=1, activation="relu")
    assert y.shape == (0, 4, 9, 8)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.numpy().any()
    assert not b.grad.numpy().any()


def test_bfloat16_is_rounded_once():
    x, w, b = (normal(*s).bfloat16() for s in (X, W, (4,)))
    y = F.conv2d(x, w, b, padding=1)
    assert y.dtype == tw.bfloat16
    wide = F.conv2d(x.float(), w.float(), b.float(), padding=1).bfloat16()
    np.testing.assert_array_equal(y.float().numpy(), wide.float().numpy())
    w.requires_grad_()
    F.conv2d(x, w).float().sum().backward()
    assert w.grad.dtype == tw.bfloat16


# --- second gradients ---


def _of(name, **settings):
    return lambda F, x, w: getattr(F, name)(x, w, **settings)


# The function, and the shapes of its two tensors.
SECOND = {
    "conv2d": (_of("conv2d", stride=(2, 1), padding=1), (2, 4, 5, 6), (4, 4, 3, 2)),
    "grouped": (_of("conv2d", groups=2, dilation=2), (2, 4, 5, 6), (6, 2, 2, 2)),
    "same": (_of("conv2d", padding="same"), (2, 4, 5, 6), (3, 4, 2, 4)),
    "conv1d": (_of("conv1d", stride=2), (2, 4, 9), (3, 4, 3)),
    "conv_transpose2d": (
        _of("conv_transpose2d", stride=2, output_padding=1), (2, 4, 3, 4), (4, 3, 3, 3)),
    "unfold": (lambda F, x, w: F.unfold(x, 2) * w, (2, 4, 5, 6), (1, 16, 1)),
    "fold": (lambda F, x, w: F.fold(x, (4, 4), 2) * w, (2, 8, 9), (1, 2, 4, 4)),
    "pad": (lambda F, x, w: F.pad(x, (1, 2), "reflect") * w, (2, 4, 5), (4, 1)),
}  # fmt: skip


def second_gradients(tw, F, function, tensors):
    """Of a sum of cubes, so that those of all pairs are there."""
    y = function(F, *tensors)
    grads = tw.autograd.grad((y * y * y).sum(), tensors, create_graph=True)
    total = (grads[0] * grads[0]).sum() + (grads[1] * grads[1]).sum()
    return [g.detach().numpy() for g in tw.autograd.grad(total, tensors)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", SECOND)
def test_second_gradients_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    function, *shapes = SECOND[name]
    arrays = [normal(*shape, dtype="float64").numpy() for shape in shapes]
    ours = [tw.tensor(x, requires_grad=True) for x in arrays]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    found = second_gradients(tw, F, function, ours)
    right = second_gradients(torch, torch.nn.functional, function, theirs)
    for a, b in zip(found, right, strict=True):
        assert_close(a, b, 8 * growth(1000) * eps("float64") * (1 + np.abs(b).max()), name)


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_second_gradients_go_through_the_fused_activation(name):
    shapes = (2, 4, 5, 6), (4, 4, 3, 2)
    tensors = [normal(*shape, dtype="float64", requires_grad=True) for shape in shapes]
    fused = second_gradients(tw, F, _of(name, activation="silu"), tensors)
    plain = second_gradients(tw, F, lambda F, *both: F.silu(getattr(F, name)(*both)), tensors)
    for a, b in zip(fused, plain, strict=True):
        assert_close(a, b, 8 * growth(1000) * eps("float64") * (1 + np.abs(b).max()), name)


# --- layouts ---


def test_images_stay_channels_last_through_a_network():
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
    )  # fmt: skip
    x = normal(2, 3, 12, 12)
    for layer in net:
        x = layer(x)
        assert in_channels_last(x.detach()._array)


@pytest.mark.parametrize("kernel_order", [True, False])
@pytest.mark.parametrize("shape", [W, (6, 1, 3, 3), (6, 2, 3, 3), (4, 6, 1, 1)])
@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_a_weights_gradient_is_laid_out_as_the_weight(function, shape, kernel_order):
    if function is F.conv_transpose2d:
        shape = (6, 4, *shape[2:])
    w = normal(*shape)
    if kernel_order:
        w = w.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    w = w.detach().requires_grad_()
    groups = 1 if function is F.conv_transpose2d else 6 // shape[1]
    function(normal(*X), w, groups=groups).sum().backward()
    meant = [i for i in range(4) if shape[i] != 1]
    assert [w.grad.stride(i) for i in meant] == [w.stride(i) for i in meant]


# --- the layers ---

LAYERS = {
    "Conv1d": lambda nn: nn.Conv1d(6, 4, 3, padding="same", bias=False),
    "Conv2d": lambda nn: nn.Conv2d(6, 4, (3, 2), stride=2, padding=(1, 2)),
    "grouped": lambda nn: nn.Conv2d(6, 9, 3, padding=1, groups=3, dilation=2),
    "reflect": lambda nn: nn.Conv2d(6, 4, 3, padding=(1, 2), padding_mode="reflect"),
    "replicate": lambda nn: nn.Conv2d(6, 4, 3, padding="same", padding_mode="replicate"),
    "circular": lambda nn: nn.Conv2d(6, 4, (2, 4), padding="same", padding_mode="circular"),
    "no bias, circular": lambda nn: nn.Conv1d(
        6, 4, 5, padding=2, bias=False, padding_mode="circular"),
    "valid": lambda nn: nn.Conv2d(6, 4, 3, padding="valid", padding_mode="reflect"),
    "ConvTranspose1d": lambda nn: nn.ConvTranspose1d(6, 4, 4, 2, 1),
    "ConvTranspose2d": lambda nn: nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2, bias=False),
    "ZeroPad2d": lambda nn: nn.ZeroPad2d((1, 2, 3, 4)),
    "ZeroPad1d": lambda nn: nn.ZeroPad1d(2),
    "ConstantPad1d": lambda nn: nn.ConstantPad1d((2, 1), 1.5),
    "ConstantPad2d": lambda nn: nn.ConstantPad2d(1, -1.0),
    "ReflectionPad1d": lambda nn: nn.ReflectionPad1d(3),
    "ReflectionPad2d": lambda nn: nn.ReflectionPad2d((1, 2, 3, 4)),
    "ReplicationPad1d": lambda nn: nn.ReplicationPad1d(3),
    "ReplicationPad2d": lambda nn: nn.ReplicationPad2d((1, 2, 3, 4)),
    "CircularPad1d": lambda nn: nn.CircularPad1d(3),
    "CircularPad2d": lambda nn: nn.CircularPad2d((1, 2, 3, 4)),
    "Unfold": lambda nn: nn.Unfold((3, 2), padding=1, stride=2),
    "Fold": lambda nn: nn.Fold((4, 5), 2),
    "Unflatten": lambda nn: nn.Unflatten(1, (2, -1)),
}  # fmt: skip


def image_for(name):
    if name == "Fold":
        return (2, 8, 12)
    one_axis = name.endswith("1d") or name.startswith("no bias")
    return (2, 6, 9) if one_axis else (2, 6, 9, 8)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    theirs = LAYERS[name](torch.nn).double()
    ours = LAYERS[name](nn).double()
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = normal(*image_for(name), dtype="float64").numpy()
    a, b = tw.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-12)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
def test_weights_start_as_pytorchs_do(kind):
    layer = getattr(nn, kind)(64, 32, 3)
    fan_in = (64 if kind == "Conv2d" else 32) * 9
    for p in (layer.weight, layer.bias):
        values = p.detach().numpy()
        bound = 1 / np.sqrt(fan_in)
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.8 * bound
        assert abs(values.std() * np.sqrt(3) - bound) < bound * 2 / np.sqrt(values.size)


def test_output_size_chooses_among_those_that_stride_folds():
    layer = nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1)
    x = normal(2, 6, 5, 5)
    assert layer(x).shape == (2, 4, 9, 9)
    assert layer(x, (10, 9)).shape == (2, 4, 10, 9)
    assert layer(x, (2, 4, 9, 10)).shape == (2, 4, 9, 10)
    with pytest.raises(ValueError, match=r"\[ConvTranspose2d\] expected an output_size from"):
        layer(x, (11, 11))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(6, 4, 3, groups=4),
        lambda: nn.Conv2d(6, 4, 3, padding="same", stride=2),
        lambda: nn.Conv2d(6, 4, 3, padding_mode="wrap"),
        lambda: nn.ConvTranspose2d(6, 4, 3, padding="same"),
        lambda: nn.ConvTranspose2d(6, 4, 3, padding_mode="reflect"),
        lambda: nn.Conv2d(6, 4, 0),
        lambda: nn.ZeroPad2d((1, 2)),
    ],
)
def test_layers_refuse(make):
    with pytest.raises(ValueError, match=r"^\[\w+\] expected .*; got .*: ."):
        make()


# --- a layer's weight keeps its order in memory ---


@pytest.fixture(params=["Conv1d", "Conv2d", "ConvTranspose2d"])
def layer(request):
    return getattr(nn, request.param)(6, 4, 3)


def test_weights_lie_in_kernel_order(layer):
    assert in_kernel_order(layer.weight._array)
    for twin in (
        copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer).double(),
    ):  # fmt: skip
        assert in_kernel_order(twin.weight._array)
        np.testing.assert_allclose(twin.weight.detach().numpy(), layer.weight.detach().numpy())


def test_weights_are_saved_in_c_order_and_loaded_in_ours(layer, tmp_path):
    io.save(layer.state_dict(), tmp_path / "layer.safetensors")
    state = io.load(tmp_path / "layer.safetensors")
    assert state["weight"].is_contiguous()
    twin = copy.deepcopy(layer)
    twin.reset_parameters()
    twin.load_state_dict(state)
    assert in_kernel_order(twin.weight._array)
    np.testing.assert_array_equal(twin.weight.detach().numpy(), layer.weight.detach().numpy())


OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1, amsgrad=True),
}


@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_step_in_any_order(layer, name, engine):
    """The same steps as on a contiguous twin, and the layout kept."""
    if engine not in tw.engines.available_engines():
        pytest.skip(f"the {engine} engine is not installed here")
    before = tw.engines.current_engine()
    tw.use_engine(engine)
    try:
        twin = copy.deepcopy(layer)
        weight = layer.weight.detach().contiguous()
        twin.weight.data = weight
        x = normal(2, 6, 9) if layer.weight.ndim == 3 else normal(*X)
        for module in (layer, twin):
            steps = OPTIMISERS[name](module.parameters())
            for _ in range(3):
                steps.zero_grad()
                module(x).square().mean().backward()
                steps.step()
    finally:
        tw.use_engine(before)
    assert in_kernel_order(layer.weight._array)
    assert twin.weight.is_contiguous()
    bound = 3 * 0.1 * 64 * eps("float32") * growth(300)
    assert_close(layer.weight.detach().numpy(), twin.weight.detach().numpy(), bound, name)


def test_frozen_layers_give_the_same(layer):
    x = normal(2, 6, 9) if layer.weight.ndim == 3 else normal(*X)
    before = layer(x).detach().numpy()
    nn.utils.freeze(layer)
    np.testing.assert_array_equal(layer(x).numpy(), before)
