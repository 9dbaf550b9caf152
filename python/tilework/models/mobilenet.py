"""MobileNetV2, and the parts that EfficientNet shares with it."""

from __future__ import annotations

from typing import Any

from tilework import nn
from tilework.models.initial import initialise_classifier
from tilework.tensor import Tensor

# (expansion, channels, blocks, stride) of each stage: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, or the next where that would be a tenth too few."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


class ConvNorm(nn.Sequential):
    """A convolution that keeps the size (but for its stride), batch norm and an activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        activation: Any = nn.ReLU6,
        **norm: Any,
    ) -> None:
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        super().__init__(convolution, nn.BatchNorm2d(outputs, **norm), activation())


def projection(inputs: int, outputs: int, **norm: Any) -> list[nn.Module]:
    """The linear 1x1 convolution at a block's end, and its batch norm."""
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, **norm)]


class InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down without activation; beside a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        parts: list[nn.Module] = [ConvNorm(inputs, inner, 1)] if expansion != 1 else []
        parts.append(ConvNorm(inner, inner, 3, stride, inner))
        self.conv = nn.Sequential(*parts, *projection(inner, outputs))
        self.use_res_connect = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        *inner, norm = self.conv
        y = x
        for part in inner:
            y = part(y)
        result: Tensor = norm(y, residual=x) if self.use_res_connect else norm(y)
        return result


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al., "Inverted residuals and linear bottlenecks", 2018):
    (N, in_channels, H, W) to (N, num_classes).

    `width_mult` scales the channels, to multiples of 8. Its state_dict is torchvision's.

    >>> MobileNetV2(10, width_mult=0.25)(tw.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        inputs = make_divisible(32 * width_mult)
        last = make_divisible(1280 * max(1.0, width_mult))
        features: list[nn.Module] = [ConvNorm(in_channels, inputs, 3, 2)]
        for expansion, channels, blocks, stride in _STAGES:
            outputs = make_divisible(channels * width_mult)
            for i in range(blocks):
                features.append(InvertedResidual(inputs, outputs, 1 if i else stride, expansion))
                inputs = outputs
        features.append(ConvNorm(inputs, last, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.apply(initialise_classifier)

    def forward(self, x: Tensor) -> Tensor:
        """The class scores."""
        result: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return result


def mobilenet_v2(num_classes: int = 1000, **options: Any) -> MobileNetV2:
    """MobileNetV2; options are its class's."""
    return MobileNetV2(num_classes, **options)
