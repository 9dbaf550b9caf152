"""ESPCN: a larger picture from a smaller one."""

from __future__ import annotations

from tilework import nn
from tilework.tensor import Tensor


class ESPCN(nn.Module):
    """ESPCN (Shi et al. 2016): three convolutions at the small size, the last of which has
    a channel for each of the `scale`² pixels that become of one, and a pixel shuffle.

    Takes (N, channels, H, W), gives (N, channels, scale H, scale W).

    >>> ESPCN(3)(tw.zeros(1, 1, 8, 10)).shape
    (1, 1, 24, 30)
    """

    def __init__(self, scale: int, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2), nn.Tanh(),
            nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
            nn.Conv2d(32, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result
