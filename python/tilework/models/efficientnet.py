"""EfficientNet, B0 to B7 and Lite0."""

from __future__ import annotations

import math
from typing import Any, cast

from tilework import functional as F
from tilework import nn
from tilework.models.initial import initialise_convolution
from tilework.models.mobilenet import ConvNorm, make_divisible, projection
from tilework.tensor import Tensor

# (expansion, kernel, stride, channels, blocks) of each stage: table 1 of the paper.
_STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip


class StochasticDepth(nn.Module):
    """In training each sample's values become 0 with probability p, all of them, and are else
    divided by 1 - p: the shortcut beside them is left alone (Huang et al. 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the same shape."""
        if not self.training or not self.p:
            return x
        kept = F.dropout(F.ones_like(x[:, :1, :1, :1]), self.p)
        return x * kept


class SqueezeExcitation(nn.Module):
    """Each channel times a number in (0, 1) that two 1x1 convolutions make of all channels' means
    (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = F.silu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * F.sigmoid(self.fc2(scale))


class MBConv(nn.Module):
    """1x1 up, depthwise, squeeze and excitation where asked for, 1x1 down; beside a shortcut where
    shapes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: int,
        kernel: int,
        stride: int,
        depth_prob: float,
        squeezes: bool,
        *,
        activation: Any,
        **norm: Any,
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        parts: list[nn.Module] = []
        if expansion != 1:
            parts.append(ConvNorm(inputs, inner, 1, activation=activation, **norm))
        parts.append(ConvNorm(inner, inner, kernel, stride, inner, activation=activation, **norm))
        if squeezes:
            parts.append(SqueezeExcitation(inner, max(1, inputs // 4)))
        parts.append(nn.Sequential(*projection(inner, outputs, **norm)))
        self.block = nn.Sequential(*parts)
        self.use_res_connect = stride == 1 and inputs == outputs
        self.stochastic_depth = StochasticDepth(depth_prob)

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.block
        convolution, norm = cast(nn.Sequential, last)
        y = x
        for part in inner:
            y = part(y)
        y = convolution(y)
        if not self.use_res_connect:
            result: Tensor = norm(y)
        elif self.training:
            result = x + self.stochastic_depth(norm(y))
        else:
            result = norm(y, residual=x)
        return result


class EfficientNet(nn.Module):
    """EfficientNet (Tan and Le, "Rethinking model scaling for convolutional neural networks",
    2019): (N, in_channels, H, W) to (N, num_classes).

    `width` and `depth` scale the channels, to multiples of 8, and each stage's blocks. A `lite` one
    has ReLU6 in SiLU's place and no squeeze and excitation, and its first and last stages and outer
    convolutions are not scaled. `norm` are arguments of the batch norms. Its state_dict is
    torchvision's.

    >>> EfficientNet(0.25, 0.5, num_classes=10)(tw.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(
        self,
        width: float,
        depth: float,
        dropout: float = 0.2,
        stochastic_depth_prob: float = 0.2,
        num_classes: int = 1000,
        *,
        lite: bool = False,
        in_channels: int = 3,
        norm: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        how = {"activation": nn.ReLU6 if lite else nn.SiLU, **(norm or {})}
        ends = (0, len(_STAGES) - 1)
        counts = [
            n if lite and i in ends else math.ceil(n * depth) for i, (*_, n) in enumerate(_STAGES)
        ]
        inputs = 32 if lite else make_divisible(32 * width)
        features: list[nn.Module] = [ConvNorm(in_channels, inputs, 3, 2, **how)]
        made = 0
        for (expansion, kernel, stride, channels, _), count in zip(_STAGES, counts, strict=True):
            outputs, blocks = make_divisible(channels * width), []
            for i in range(count):
                prob = stochastic_depth_prob * made / sum(counts)
                blocks.append(
                    MBConv(
                        inputs, outputs, expansion, kernel, 1 if i else stride, prob, not lite,
                        **how,
                    )
                )  # fmt: skip
                inputs, made = outputs, made + 1
            features.append(nn.Sequential(*blocks))
        last = 1280 if lite else 4 * inputs
        self.features = nn.Sequential(*features, ConvNorm(inputs, last, 1, **how))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """The class scores."""
        result: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return result


def _initialise(module: nn.Module) -> None:
    initialise_convolution(module)
    if isinstance(module, nn.Linear):
        bound = 1.0 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Width, depth and dropout; batch norms of the three largest are those of the paper's own code.
_SCALES = (
    (1.0, 1.0, 0.2), (1.0, 1.1, 0.2), (1.1, 1.2, 0.3), (1.2, 1.4, 0.3), (1.4, 1.8, 0.4),
    (1.6, 2.2, 0.4), (1.8, 2.6, 0.5), (2.0, 3.1, 0.5),
)  # fmt: skip
_NORM = {"eps": 1e-3, "momentum": 0.01}


def _scaled(size: int, num_classes: int, options: dict[str, Any]) -> EfficientNet:
    width, depth, dropout = _SCALES[size]
    usual = {"dropout": dropout, "norm": _NORM if size > 4 else None}
    return EfficientNet(width, depth, num_classes=num_classes, **{**usual, **options})


def efficientnet_b0(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B0; options are EfficientNet's."""
    return _scaled(0, num_classes, options)


def efficientnet_b1(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B1; options are EfficientNet's."""
    return _scaled(1, num_classes, options)


def efficientnet_b2(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B2; options are EfficientNet's."""
    return _scaled(2, num_classes, options)


def efficientnet_b3(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B3; options are EfficientNet's."""
    return _scaled(3, num_classes, options)


def efficientnet_b4(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B4; options are EfficientNet's."""
    return _scaled(4, num_classes, options)


def efficientnet_b5(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B5; options are EfficientNet's."""
    return _scaled(5, num_classes, options)


def efficientnet_b6(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B6; options are EfficientNet's."""
    return _scaled(6, num_classes, options)


def efficientnet_b7(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-B7; options are EfficientNet's."""
    return _scaled(7, num_classes, options)


def efficientnet_lite0(num_classes: int = 1000, **options: Any) -> EfficientNet:
    """EfficientNet-Lite0; options are EfficientNet's. States of other programs, whose entries come
    in the same order, are those of `zip(model.state_dict(), state.values())`."""
    usual: dict[str, Any] = {"lite": True, "norm": _NORM, "num_classes": num_classes}
    return EfficientNet(1.0, 1.0, **{**usual, **options})
