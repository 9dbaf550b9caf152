"""U-Net."""

from __future__ import annotations

from tilework import functional as F
from tilework import nn
from tilework.errors import error
from tilework.tensor import Tensor


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep the size, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with padded convolutions and batch norm: `depth` times down
    to half the size and twice the channels, and back up, each level beside its twin on the way
    down.

    Takes (N, in_channels, H, W), gives scores (N, num_classes, H, W). ValueError where H or W is no
    multiple of 2**depth.

    >>> UNet(width=4)(tw.zeros(1, 1, 32, 48)).shape
    (1, 1, 32, 48)
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 1, width: int = 32, depth: int = 4
    ) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _twice(a, b) for a, b in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[-2::-1])
        self.merge = nn.ModuleList(_twice(2 * w, w) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        multiple = 1 << len(self.up)
        if x.ndim != 4 or x.shape[2] % multiple or x.shape[3] % multiple:
            raise error(
                ValueError, "UNet", f"input (N, C, H, W), H and W multiples of {multiple}",
                x.shape, "pad with F.pad(x, (0, right, 0, below))",
            )  # fmt: skip
        levels: list[Tensor] = []
        for down in self.down:
            x = down(self.pool(levels[-1]) if levels else x)
            levels.append(x)
        for up, merge, beside in zip(self.up, self.merge, levels[-2::-1], strict=True):
            x = merge(F.cat([up(x), beside], 1))
        result: Tensor = self.head(x)
        return result
