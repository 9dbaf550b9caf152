"""Cases of the models in evaluation, with weights given: small ones by default, all with --full."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.cases import cnns, language, seq2seq
from tilework.testing.cases.networks import (
    Weights,
    batch_norm,
    linear,
    max_pool,
    random_weight,
    relu,
)
from tilework.testing.convolution import conv, conv_transpose
from tilework.testing.reference import sigmoid
from tilework.testing.tolerance import eps

Make = Callable[[Any], Any]  # from `tilework.models` to a model
Forward = Callable[[Weights, Array], Array]
Run = language.Run


# --- the models in NumPy: their depths are read off the names of the weights ---


def _mlp(w: Weights, x: Array) -> Array:
    x = x.reshape(len(x), -1)
    layers = [name.removesuffix(".weight") for name in w if name.endswith(".weight")]
    for at in layers[:-1]:
        x = relu(linear(w, at, x))
    return linear(w, layers[-1], x)


def _part(w: Weights, at: str) -> Weights:
    return {name: x for name, x in w.items() if name.startswith(at)}


def _autoencoder(w: Weights, x: Array) -> Array:
    return sigmoid(_mlp(_part(w, "decoder"), _mlp(_part(w, "encoder"), x))).reshape(x.shape)


def _sparse(w: Weights, x: Array) -> Array:
    code = relu(_mlp(_part(w, "encoder"), x))
    return np.concatenate([sigmoid(_mlp(_part(w, "decoder"), code)), code], 1)


def _conv_autoencoder(w: Weights, x: Array) -> Array:
    for at in ("encoder.0", "encoder.2"):
        x = relu(conv(x, w[f"{at}.weight"], w[f"{at}.bias"], stride=2, padding=1))
    x = relu(linear(w, "decoder.0", linear(w, "encoder.5", x.reshape(len(x), -1))))
    x = x.reshape(len(x), w["decoder.3.weight"].shape[0], 2, 2)
    for at, last in (("decoder.3", relu), ("decoder.5", sigmoid)):
        x = last(conv_transpose(x, w[f"{at}.weight"], w[f"{at}.bias"], stride=2, padding=1))
    return x


def _anomaly(w: Weights, x: Array) -> Array:
    found = _autoencoder({name.removeprefix("autoencoder."): v for name, v in w.items()}, x)
    return np.asarray(((found - x) ** 2).reshape(len(x), -1).mean(1))


def _vae(w: Weights, x: Array) -> Array:
    """With noise of 1/2: images, means and log variances, side by side."""
    mean, log_variance = np.split(_mlp(_part(w, "encoder"), x), 2, 1)
    code = mean + np.exp(log_variance / 2) / 2
    return np.concatenate([sigmoid(_mlp(_part(w, "decoder"), code)), mean, log_variance], 1)


def _perceptron(w: Weights, x: Array) -> Array:
    return linear(w, "plane", x)[:, 0]


def _mlp_forecaster(w: Weights, x: Array) -> Array:
    return x[:, -1:] + 3.0 * _mlp(w, (x - x[:, -1:]) / 3.0)


def _lenet(w: Weights, x: Array) -> Array:
    x = max_pool(relu(conv(x, w["layers.0.weight"], w["layers.0.bias"], padding=2)), 2, 2)
    x = max_pool(relu(conv(x, w["layers.3.weight"], w["layers.3.bias"])), 2, 2)
    x = relu(linear(w, "layers.7", x.reshape(len(x), -1)))
    return linear(w, "layers.11", relu(linear(w, "layers.9", x)))


def _norm(w: Weights, at: str, x: Array) -> Array:
    return batch_norm(w, at, x, training=False)


def _unet(w: Weights, x: Array) -> Array:
    def twice(at: str, x: Array) -> Array:
        for i in (0, 3):
            x = relu(_norm(w, f"{at}.{i + 1}", conv(x, w[f"{at}.{i}.weight"], padding=1)))
        return x

    depth = sum(name.startswith("up.") and name.endswith(".weight") for name in w)
    levels = [twice("down.0", x)]
    for level in range(1, depth + 1):
        levels.append(twice(f"down.{level}", max_pool(levels[-1], 2, 2)))
    x = levels.pop()
    for step in range(depth):
        wide = conv_transpose(x, w[f"up.{step}.weight"], w[f"up.{step}.bias"], stride=2)
        x = twice(f"merge.{step}", np.concatenate([wide, levels.pop()], 1))
    return conv(x, w["head.weight"], w["head.bias"])


def _block(w: Weights, at: str, x: Array, stride: int, dilation: int) -> Array:
    """A basic block or a bottleneck, by the number of its convolutions."""
    wide: dict[str, Any] = {"stride": stride, "padding": dilation, "dilation": dilation}
    if f"{at}.conv3.weight" in w:
        settings: tuple[dict[str, Any], ...] = ({}, wide, {})
    else:
        settings = (wide, {"padding": 1})
    y = x
    for i, how in enumerate(settings, 1):
        y = _norm(w, f"{at}.bn{i}", conv(y, w[f"{at}.conv{i}.weight"], **how))
        y = y if i == len(settings) else relu(y)
    if f"{at}.downsample.0.weight" in w:
        x = _norm(w, f"{at}.downsample.1", conv(x, w[f"{at}.downsample.0.weight"], stride=stride))
    elif y.shape[1] != x.shape[1]:  # no parameters: zeros around the channels
        more = y.shape[1] - x.shape[1]
        around = ((0, 0), (more // 2, more - more // 2), (0, 0), (0, 0))
        x = np.pad(x[:, :, ::stride, ::stride], around)
    return relu(x + y)


def _stages(w: Weights, x: Array, under: str = "", dilated: bool = False) -> Array:
    """The stem and all stages; with `dilated`, the last two keep the size."""
    own = {name.removeprefix(under): value for name, value in w.items() if name.startswith(under)}
    if own["conv1.weight"].shape[2] == 3:
        x = relu(_norm(own, "bn1", conv(x, own["conv1.weight"], padding=1)))
    else:
        x = relu(_norm(own, "bn1", conv(x, own["conv1.weight"], stride=2, padding=3)))
        x = max_pool(x, 3, 2, 1)
    dilation = stage = 1
    while f"layer{stage}.0.conv1.weight" in own:
        keeps = dilated and stage > 2
        stride, before = (1 if stage == 1 or keeps else 2), dilation
        dilation *= 2 if keeps else 1
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in own:
            at = f"layer{stage}.{block}"
            x = _block(own, at, x, 1 if block else stride, dilation if block else before)
            block += 1
        stage += 1
    return x


def _resnet(w: Weights, x: Array) -> Array:
    return linear(w, "fc", _stages(w, x).mean((2, 3)))


def _fcn(w: Weights, x: Array) -> Array:
    y = _stages(w, x, "backbone.", dilated=True)
    y = conv(y, w["classifier.0.weight"], padding=1)
    y = conv(relu(_norm(w, "classifier.1", y)), w["classifier.4.weight"], w["classifier.4.bias"])
    for axis in (2, 3):  # to the size of x, each pixel a square of which the middle counts
        n, count = y.shape[axis], x.shape[axis]
        at = np.clip((np.arange(count) + 0.5) * n / count - 0.5, 0, n - 1)
        low = np.minimum(at.astype(int), n - 1)
        high, part = np.minimum(low + 1, n - 1), at - low
        shape = [-1 if a == axis else 1 for a in range(4)]
        part = part.reshape(shape)
        y = np.take(y, low, axis) * (1 - part) + np.take(y, high, axis) * part
    return y


def _embedding(w: Weights, x: Array) -> Array:
    for at in (0, 4):
        x = conv(x, w[f"layers.{at}.weight"], padding=1)
        x = max_pool(relu(_norm(w, f"layers.{at + 1}", x)), 2, 2)
    x = linear(w, "layers.9", x.reshape(len(x), -1))
    unit: Array = x / np.sqrt(np.square(x).sum(1, keepdims=True))
    return unit


def _espcn(w: Weights, x: Array) -> Array:
    for at, padding in ((0, 2), (2, 1), (4, 1)):
        x = conv(x, w[f"layers.{at}.weight"], w[f"layers.{at}.bias"], padding=padding)
        x = x if at == 4 else np.tanh(x)
    n, many, height, width = x.shape
    scale = math.isqrt(many // 2)  # two channels
    x = x.reshape(n, 2, scale, scale, height, width).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, 2, scale * height, scale * width)


# --- the cases ---


@functools.cache
def _shapes(make: Make) -> dict[str, tuple[int, ...]]:
    from tilework import models

    state = make(models).state_dict().items()
    return {name: x.shape for name, x in state if not name.endswith("num_batches_tracked")}


def _alone(F: Any, model: Any, x: Any) -> Any:
    return model(x)


def _side_by_side(F: Any, model: Any, x: Any) -> Any:
    return F.cat([part.flatten(1) for part in model(x)], 1)


def _with_noise(F: Any, model: Any, x: Any) -> Any:
    noise = F.full((x.shape[0], 3), 0.5, dtype=x.dtype, device=x.device)
    return F.cat([part.flatten(1) for part in model(x, noise)], 1)


def _case(
    op: str,
    make: Make,
    shape: tuple[int, ...],
    forward: Forward,
    quick: bool,
    tokens: int = 0,
    run: Run = _alone,
    label: str = "",
) -> Case:
    """`shape` is of one input: an image, or where `tokens` is not 0 a text of so many tokens."""

    def inputs(rng: Generator, dtype: str) -> tuple[Array, ...]:
        weights = [random_weight(rng, name, s).astype(dtype) for name, s in _shapes(make).items()]
        if tokens:
            return (rng.integers(tokens, size=(2, *shape)), *weights)
        return (rng.standard_normal((2, *shape)).astype(dtype), *weights)

    def call(tw: Any, F: Any, x: Any, *weights: Any) -> Any:
        model = make(tw.models)
        state = dict(zip(_shapes(make), weights, strict=True))
        model.load_state_dict(state, strict=False)
        out = run(F, model.to(weights[0].dtype).eval(), x)
        return out["out"] if isinstance(out, dict) else out

    def bound(dtype: str, expected: Array, *inputs: Any) -> Array:
        """A few eps of the numbers' size for each layer: the error of a sum grows with the root of
        its length, and so does the sum of such weights beside its terms."""
        layers = sum(len(shape) > 1 for shape in _shapes(make).values())
        return np.asarray(8.0 * layers * eps(dtype) * (1.0 + np.abs(expected).max()))

    return Case(
        family="models",
        op=op,
        label=label or (op if quick else f"{op}, whole"),
        inputs=inputs,
        call=call,
        reference=lambda x, *w: forward(dict(zip(_shapes(make), w, strict=True)), x),
        tolerance=bound,
        dtypes=("float32",),
        quick=quick,
        peer=None,
    )


def _cases() -> Iterator[Case]:
    from tilework.models.resnet import BasicBlock, Bottleneck

    small = {"small_images": True, "num_classes": 5}
    yield _case("MLP", lambda m: m.MLP([12, 7, 9, 5], dropout=0.5), (3, 4), _mlp, True)
    yield _case("LeNet5", lambda m: m.LeNet5(), (1, 28, 28), _lenet, True)
    yield _case("UNet", lambda m: m.UNet(2, 3, width=3, depth=2), (2, 12, 8), _unet, True)
    yield _case(
        "ConvEmbedding", lambda m: m.ConvEmbedding(8, 2, width=3, features=5), (2, 8, 8),
        _embedding, True,
    )  # fmt: skip
    sizes = [12, 7, 3]
    yield _case("Autoencoder", lambda m: m.Autoencoder(sizes), (3, 4), _autoencoder, True)
    yield _case(
        "SparseAutoencoder", lambda m: m.SparseAutoencoder(sizes), (12,), _sparse, True,
        run=_side_by_side,
    )  # fmt: skip
    yield _case(
        "ConvAutoencoder", lambda m: m.ConvAutoencoder(8, 3, width=2), (1, 8, 8),
        _conv_autoencoder, True,
    )  # fmt: skip
    yield _case("AnomalyDetector", lambda m: m.AnomalyDetector(sizes), (3, 4), _anomaly, True)
    yield _case("VAE", lambda m: m.VAE(sizes), (12,), _vae, True, run=_with_noise)
    yield _case("Perceptron", lambda m: m.Perceptron(5), (5,), _perceptron, True)
    yield _case(
        "MLPForecaster", lambda m: m.MLPForecaster(6, 2, 5, scale=3.0), (6,), _mlp_forecaster, True
    )
    yield _case("ESPCN", lambda m: m.ESPCN(3, channels=2), (2, 5, 7), _espcn, True)
    yield _case("CifarResNet", lambda m: m.CifarResNet(2, 5, width=4), (3, 9, 8), _resnet, True)
    yield _case(
        "ResNet", lambda m: m.ResNet(BasicBlock, (1, 2, 1, 1), **small), (3, 9, 8), _resnet, True
    )
    yield _case("FCN", lambda m: m.FCN(Bottleneck, (1, 1, 2, 1), 4, False), (3, 24, 16), _fcn, True)
    for depth in (18, 34, 50, 101, 152):
        name = f"resnet{depth}"
        make = functools.partial(_named, name)
        yield _case(name, make, (3, 32, 32), _resnet, False)
    for depth in (20, 32, 44, 56, 110):
        name = f"resnet{depth}"
        yield _case(name, functools.partial(_named, name), (3, 12, 12), _resnet, depth == 20)
    for depth in (50, 101):
        name = f"fcn_resnet{depth}"
        yield _case(name, functools.partial(_named, name), (3, 32, 32), _fcn, False)
    for photograph in cnns.MODELS:
        yield _case(*photograph)
    for name, (text_model, shape, tokens, forward, run) in language.MODELS.items():
        yield _case(name, text_model, shape, forward, True, tokens, run)
    for i, (op, model, shape, tokens, forward, run) in enumerate(seq2seq.MODELS):
        yield _case(op, model, shape, forward, True, tokens, run, f"{op} {i}")


def _named(name: str, models: Any) -> Any:
    return getattr(models, name)()


CASES: tuple[Case, ...] = tuple(_cases())
