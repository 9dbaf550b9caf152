"""Layers that resize planes. They hold arguments and call functional, whose errors are theirs."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.nn.module import Module
from tilework.tensor import Tensor


class Upsample(Module):
    """F.interpolate of (N, C, H, W) or (N, C, L).

    >>> nn.Upsample(scale_factor=2)(tw.ones(1, 8, 3, 4)).shape
    (1, 8, 6, 8)
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """The planes in their new size."""
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners,
            self.recompute_scale_factor,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The size and the mode."""
        by = f"size={self.size}" if self.scale_factor is None else f"{self.scale_factor=}"
        return f"{by.replace('self.', '')}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample of images (N, C, H, W) in the mode "nearest": each element repeated, to `size` or by
    `scale_factor`.

    >>> nn.UpsamplingNearest2d(scale_factor=2)(tw.ones(1, 8, 3, 4)).shape
    (1, 8, 6, 8)
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample of images in the mode "bilinear", from corner to corner.

    >>> nn.UpsamplingBilinear2d(scale_factor=2)(tw.ones(1, 8, 3, 4)).shape
    (1, 8, 6, 8)
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class ChannelShuffle(Module):
    """The channels of (N, C, ...) mixed between `groups`: F.channel_shuffle (Zhang et al. 2018).
    ValueError where groups do not divide the channels.

    >>> nn.ChannelShuffle(2)(tw.arange(4).reshape(1, 4, 1)).reshape(-1)
    tensor([0, 2, 1, 3])
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """The channels in another order."""
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        """The number of groups."""
        return f"groups={self.groups}"


class PixelShuffle(Module):
    """F.pixel_shuffle: (..., C r r, H, W) to (..., C, H r, W r).

    >>> nn.PixelShuffle(2)(tw.zeros(1, 8, 2, 3)).shape
    (1, 2, 4, 6)
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Channels as pixels."""
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """F.pixel_unshuffle: (..., C, H r, W r) to (..., C r r, H, W).

    >>> nn.PixelUnshuffle(2)(tw.zeros(1, 2, 4, 6)).shape
    (1, 8, 2, 3)
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Pixels as channels."""
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"downscale_factor={self.downscale_factor}"
