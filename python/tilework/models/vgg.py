"""VGG, with 11 to 19 layers, with and without batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import nn
from tilework.models.initial import initialise_classifier
from tilework.tensor import Tensor

_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """VGG (Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
    recognition", 2015): (N, in_channels, H, W), at least 32 pixels a side, to (N, num_classes).

    `layers` are the 3x3 convolutions of the five stages, each of which ends with a pooling; `width`
    scales the channels and hidden units, and `pooled` is the size of the map that the classifier
    gets: 7, and for images of 32 pixels 1. Its state_dict is torchvision's.

    >>> VGG((1, 1, 2, 2, 2), 10, width=0.125, pooled=1)(tw.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(
        self,
        layers: Sequence[int],
        num_classes: int = 1000,
        dropout: float = 0.5,
        *,
        batch_norm: bool = False,
        in_channels: int = 3,
        width: float = 1.0,
        pooled: int = 7,
    ) -> None:
        super().__init__()
        features: list[nn.Module] = []
        inputs, hidden = in_channels, int(4096 * width)
        for count, wide in zip(layers, _WIDTHS, strict=True):
            outputs = int(wide * width)
            for _ in range(count):
                features.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                features += [nn.BatchNorm2d(outputs)] * batch_norm
                features.append(nn.ReLU())
                inputs = outputs
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * pooled * pooled, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        self.apply(initialise_classifier)

    def forward(self, x: Tensor) -> Tensor:
        """The class scores."""
        result: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return result


_LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg11(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-11; options are VGG's."""
    return VGG(_LAYERS[11], num_classes, **options)


def vgg13(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-13; options are VGG's."""
    return VGG(_LAYERS[13], num_classes, **options)


def vgg16(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-16; options are VGG's."""
    return VGG(_LAYERS[16], num_classes, **options)


def vgg19(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-19; options are VGG's."""
    return VGG(_LAYERS[19], num_classes, **options)


def vgg11_bn(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-11 with batch norm; options are VGG's."""
    return VGG(_LAYERS[11], num_classes, batch_norm=True, **options)


def vgg13_bn(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-13 with batch norm; options are VGG's."""
    return VGG(_LAYERS[13], num_classes, batch_norm=True, **options)


def vgg16_bn(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-16 with batch norm; options are VGG's."""
    return VGG(_LAYERS[16], num_classes, batch_norm=True, **options)


def vgg19_bn(num_classes: int = 1000, **options: Any) -> VGG:
    """VGG-19 with batch norm; options are VGG's."""
    return VGG(_LAYERS[19], num_classes, batch_norm=True, **options)
