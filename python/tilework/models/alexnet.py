"""AlexNet."""

from __future__ import annotations

from typing import Any

from tilework import nn
from tilework.tensor import Tensor


class AlexNet(nn.Module):
    """AlexNet as Krizhevsky put it in "One weird trick for parallelizing convolutional neural
    networks", 2014: (N, in_channels, H, W), at least 63 pixels a side, to (N, num_classes).

    `width` scales the channels and hidden units. Its state_dict is torchvision's.

    >>> AlexNet(10, width=0.125)(tw.zeros(2, 3, 64, 64)).shape
    (2, 10)
    """

    def __init__(
        self,
        num_classes: int = 1000,
        dropout: float = 0.5,
        *,
        in_channels: int = 3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        a, b, c, d, hidden = (int(n * width) for n in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, a, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(a, b, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(d * 36, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The class scores."""
        result: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return result


def alexnet(num_classes: int = 1000, **options: Any) -> AlexNet:
    """AlexNet; options are its class's."""
    return AlexNet(num_classes, **options)
