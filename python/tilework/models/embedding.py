"""Images as points whose distances say whether they are of one class."""

from __future__ import annotations

from tilework import functional as F
from tilework import nn
from tilework.tensor import Tensor


class ConvEmbedding(nn.Module):
    """Two convolutions, each with batch norm, ReLU and max-pooling to half the size, and a linear
    layer to points of length 1, as for FaceNet (Schroff et al. 2015).

    Takes (N, in_channels, H, W) of `size` pixels a side, a multiple of 4, gives (N, features).

    >>> ConvEmbedding(28, features=16)(tw.randn(2, 1, 28, 28)).shape
    (2, 16)
    """

    def __init__(
        self, size: int, in_channels: int = 1, width: int = 16, features: int = 32
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width),
            nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(2 * width * (size // 4) ** 2, features),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.layers(x), dim=1)
