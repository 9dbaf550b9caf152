"""The networks of photographs in NumPy, with batch norm's statistics given, and their cases' parts:
(op, what makes a small one, an image's shape, the reference)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilework.testing.case import Array
from tilework.testing.cases.networks import Weights, linear, max_pool, relu
from tilework.testing.convolution import conv
from tilework.testing.reference import sigmoid, silu

Activation = Callable[[Array], Array]


def _relu6(x: Array) -> Array:
    return np.clip(x, 0.0, 6.0)


def _normed(w: Weights, at: str, x: Array, eps: float) -> Array:
    scale = w[f"{at}.weight"] / np.sqrt(w[f"{at}.running_var"] + eps)
    shift = w[f"{at}.bias"] - w[f"{at}.running_mean"] * scale
    return np.asarray(x * scale[:, None, None] + shift[:, None, None])


def _conv(
    w: Weights, at: str, norm: str, x: Array, eps: float, stride: int = 1, groups: int = 1
) -> Array:
    """A convolution that keeps the size, but for its stride, and its batch norm."""
    weight = w[f"{at}.weight"]
    y = conv(x, weight, stride=stride, padding=weight.shape[2] // 2, groups=groups)
    return _normed(w, norm, y, eps)


def _in_parts(x: Array, count: int) -> Array:
    """The means of count x count even parts."""
    for axis in (2, 3):
        n = x.shape[axis]
        ends = [(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
        parts = [x.take(range(a, b), axis).mean(axis, keepdims=True) for a, b in ends]
        x = np.concatenate(parts, axis)
    return x


def _classifier(w: Weights, x: Array) -> Array:
    """Linear layers, ReLU between them."""
    layers = [n.removesuffix(".weight") for n in w if n.startswith("classifier") and "weight" in n]
    for at in layers[:-1]:
        x = relu(linear(w, at, x))
    return linear(w, layers[-1], x)


def alexnet(w: Weights, x: Array) -> Array:
    for i, (stride, padding, pooled) in enumerate(
        ((4, 2, True), (1, 2, True), (1, 1, False), (1, 1, False), (1, 1, True))
    ):
        at = f"features.{(0, 3, 6, 8, 10)[i]}"
        x = relu(conv(x, w[f"{at}.weight"], w[f"{at}.bias"], stride=stride, padding=padding))
        x = max_pool(x, 3, 2) if pooled else x
    return _classifier(w, _in_parts(x, 6).reshape(len(x), -1))


def vgg(counts: tuple[int, ...], pooled: int) -> Callable[[Weights, Array], Array]:
    def scores(w: Weights, x: Array) -> Array:
        at = 0
        for count in counts:
            for _ in range(count):
                name, normed = f"features.{at}", f"features.{at + 1}.running_var" in w
                x = conv(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)
                x = relu(_normed(w, f"features.{at + 1}", x, 1e-5) if normed else x)
                at += 2 + normed
            x, at = max_pool(x, 2, 2), at + 1
        return _classifier(w, _in_parts(x, pooled).reshape(len(x), -1))

    return scores


def mobilenet(w: Weights, x: Array) -> Array:
    x = _relu6(_conv(w, "features.0.0", "features.0.1", x, 1e-5, 2))
    starts = {2: 2, 4: 2, 7: 2, 14: 2}  # the blocks that halve the image
    for i in range(1, 18):
        at, y, part = f"features.{i}.conv", x, 0
        while f"{at}.{part}.0.weight" in w:
            depthwise = w[f"{at}.{part}.0.weight"].shape[1] == 1
            stride, groups = (starts.get(i, 1), y.shape[1]) if depthwise else (1, 1)
            y = _conv(w, f"{at}.{part}.0", f"{at}.{part}.1", y, 1e-5, stride, groups)
            y, part = _relu6(y), part + 1
        y = _conv(w, f"{at}.{part}", f"{at}.{part + 1}", y, 1e-5)
        x = x + y if x.shape == y.shape else y
    x = _relu6(_conv(w, "features.18.0", "features.18.1", x, 1e-5))
    return _classifier(w, x.mean((2, 3)))


def efficientnet(eps: float, lite: bool) -> Callable[[Weights, Array], Array]:
    activate: Activation = _relu6 if lite else silu

    def block(w: Weights, at: str, x: Array, stride: int) -> Array:
        y, part = x, 0
        while f"{at}.{part}.1.weight" in w and f"{at}.{part + 1}" in _names(w):
            depthwise = w[f"{at}.{part}.0.weight"].shape[1] == 1
            how, groups = (stride, y.shape[1]) if depthwise else (1, 1)
            y = activate(_conv(w, f"{at}.{part}.0", f"{at}.{part}.1", y, eps, how, groups))
            part += 1
        if f"{at}.{part}.fc1.weight" in w:
            scale = y.mean((2, 3), keepdims=True)
            scale = silu(conv(scale, w[f"{at}.{part}.fc1.weight"], w[f"{at}.{part}.fc1.bias"]))
            scale = conv(scale, w[f"{at}.{part}.fc2.weight"], w[f"{at}.{part}.fc2.bias"])
            y, part = y * sigmoid(scale), part + 1
        y = _conv(w, f"{at}.{part}.0", f"{at}.{part}.1", y, eps)
        return x + y if x.shape == y.shape else y

    def scores(w: Weights, x: Array) -> Array:
        x = activate(_conv(w, "features.0.0", "features.0.1", x, eps, 2))
        for stage, stride in enumerate((1, 2, 2, 2, 1, 2, 1), 1):
            i = 0
            while f"features.{stage}.{i}.block.0.0.weight" in w:
                x = block(w, f"features.{stage}.{i}.block", x, 1 if i else stride)
                i += 1
        x = activate(_conv(w, "features.8.0", "features.8.1", x, eps))
        return _classifier(w, x.mean((2, 3)))

    return scores


def _names(w: Weights) -> set[str]:
    """Every name in the tree of modules."""
    found: set[str] = set()
    for name in w:
        parts = name.split(".")
        found.update(".".join(parts[:i]) for i in range(1, len(parts)))
    return found


def _ceil_pool(x: Array, size: int, stride: int) -> Array:
    """A pooling whose last window may begin inside and end outside."""
    pads = []
    for n in x.shape[2:]:
        count = -(-max(n - size, 0) // stride) + 1
        pads.append((0, max(0, (count - 1) * stride + size - n)))
    framed = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=-np.inf)
    return max_pool(framed, size, stride)


def googlenet(w: Weights, x: Array) -> Array:
    def basic(at: str, x: Array, stride: int = 1) -> Array:
        return relu(_conv(w, f"{at}.conv", f"{at}.bn", x, 1e-3, stride))

    def inception(at: str, x: Array) -> Array:
        ways = [basic(f"{at}.branch1", x)]
        ways += [basic(f"{at}.branch{i}.1", basic(f"{at}.branch{i}.0", x)) for i in (2, 3)]
        return np.concatenate([*ways, basic(f"{at}.branch4.1", max_pool(x, 3, 1, 1))], 1)

    x = basic("conv3", basic("conv2", _ceil_pool(basic("conv1", x, 2), 3, 2)))
    x = _ceil_pool(x, 3, 2)
    for stage, letters, size in ((3, "ab", 3), (4, "abcde", 2), (5, "ab", 0)):
        for letter in letters:
            x = inception(f"inception{stage}{letter}", x)
        x = _ceil_pool(x, size, 2) if size else x
    return linear(w, "fc", x.mean((2, 3)))


_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_SMALL: dict[str, Any] = {"num_classes": 5, "width": 1 / 16}

Model = tuple[str, Callable[[Any], Any], tuple[int, ...], Callable[[Weights, Array], Array], bool]


def _named(name: str, **options: Any) -> Callable[[Any], Any]:
    return lambda models: getattr(models, name)(**options)


def _models() -> list[Model]:
    """With the last word: whether it is quick."""
    found: list[Model] = [
        ("AlexNet", _named("AlexNet", **_SMALL), (3, 63, 70), alexnet, True),
        ("alexnet", _named("alexnet", **_SMALL), (3, 64, 64), alexnet, False),
        ("GoogLeNet", _named("GoogLeNet", **_SMALL), (3, 32, 32), googlenet, True),
        ("googlenet", _named("googlenet", **_SMALL), (3, 40, 32), googlenet, False),
        (
            "MobileNetV2", _named("MobileNetV2", num_classes=5, width_mult=0.1), (3, 24, 32),
            mobilenet, True,
        ),
        ("mobilenet_v2", _named("mobilenet_v2"), (3, 32, 32), mobilenet, False),
        (
            "EfficientNet", lambda m: m.EfficientNet(0.1, 0.4, num_classes=5), (3, 24, 32),
            efficientnet(1e-5, False), True,
        ),
        (
            "VGG", lambda m: m.VGG(_VGG[11], batch_norm=True, pooled=2, **_SMALL), (3, 40, 64),
            vgg(_VGG[11], 2), True,
        ),
    ]  # fmt: skip
    for depth, counts in _VGG.items():
        for suffix in ("", "_bn"):
            name = f"vgg{depth}{suffix}"
            make = _named(name, pooled=1, **_SMALL)
            found.append((name, make, (3, 32, 32), vgg(counts, 1), False))
    # B7's many layers of random weights move by a third of the answer where the image moves by
    # 1e-12: no two ways to compute it agree.
    for size in range(7):
        name = f"efficientnet_b{size}"
        eps = 1e-3 if size > 4 else 1e-5
        found.append((name, _named(name), (3, 32, 32), efficientnet(eps, False), False))
    lite = efficientnet(1e-3, True)
    found.append(("efficientnet_lite0", _named("efficientnet_lite0"), (3, 32, 32), lite, False))
    return found


MODELS = _models()
