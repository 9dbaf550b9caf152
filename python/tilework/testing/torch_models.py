"""The networks of tilework.models in PyTorch: the judge of their tests, the peer of their timings.

Built from the papers' tables, under the same names, so that a state_dict goes from one to the other
as it is. Imports PyTorch: only for where it is installed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def mlp(sizes: Sequence[int]) -> Any:
    """tilework.models.MLP, without dropout."""
    layers: list[Any] = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(inputs, outputs))
    return _Named(layers=nn.Sequential(*layers), call=lambda net, x: net.layers(x.flatten(1)))


def lenet() -> Any:
    """tilework.models.LeNet5."""
    convolutions = [nn.Conv2d(1, 6, 5, padding="same"), nn.Conv2d(6, 16, 5)]
    layers = [part for c in convolutions for part in (c, nn.ReLU(), nn.MaxPool2d(2))]
    layers += [nn.Flatten(), nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
    return _Named(
        layers=nn.Sequential(*layers, nn.Linear(84, 10)), call=lambda net, x: net.layers(x)
    )


class _Named(nn.Module):  # type: ignore[misc]
    """Modules by name, and what to do with them."""

    def __init__(self, call: Any, **parts: Any) -> None:
        super().__init__()
        self.call = call
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Any) -> Any:
        return self.call(self, x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> Any:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


class _Block(nn.Module):  # type: ignore[misc]
    """A residual block of convolutions ((inputs, outputs, kernel, stride, dilation), ...).

    Where the shape changes the shortcut is a 1x1 convolution, or with `bare` every second pixel and
    zeros for new channels.
    """

    def __init__(self, specs: Sequence[tuple[int, int, int, int, int]], bare: bool) -> None:
        super().__init__()
        self.count = len(specs)
        for i, spec in enumerate(specs, 1):
            self.add_module(f"conv{i}", _conv(*spec))
            self.add_module(f"bn{i}", nn.BatchNorm2d(spec[1]))
        inputs, outputs = specs[0][0], specs[-1][1]
        self.stride = max(spec[3] for spec in specs)
        self.more = outputs - inputs
        changes = self.stride != 1 or self.more != 0
        self.downsample = None
        if changes and not bare:
            self.downsample = nn.Sequential(
                _conv(inputs, outputs, 1, self.stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Any) -> Any:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.more:
            half = self.more // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.more - half))
        return F.relu(y + x)


def _specs(
    bottleneck: bool, inputs: int, width: int, stride: int, dilation: int
) -> list[tuple[int, int, int, int, int]]:
    if bottleneck:
        return [
            (inputs, width, 1, 1, 1),
            (width, width, 3, stride, dilation),
            (width, 4 * width, 1, 1, 1),
        ]
    return [(inputs, width, 3, stride, dilation), (width, width, 3, 1, 1)]


class _ResNet(nn.Module):  # type: ignore[misc]
    """Stages of blocks behind a stem; `counts` are of the stages, `strides` and `dilations` too
    (of its first block, and of the others)."""

    def __init__(
        self,
        counts: Sequence[int],
        *,
        stem: Any,
        width: int,
        bottleneck: bool = False,
        pool: bool = False,
        bare: bool = False,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[tuple[int, int]] = ((1, 1),) * 4,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = stem, nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        inputs, self.stages = width, len(counts)
        for s, count in enumerate(counts):
            blocks = []
            for b in range(count):
                stride = strides[s] if b == 0 else 1
                specs = _specs(bottleneck, inputs, width << s, stride, dilations[s][b > 0])
                blocks.append(_Block(specs, bare))
                inputs = specs[-1][1]
            self.add_module(f"layer{s + 1}", nn.Sequential(*blocks))
        self.fc = None if num_classes is None else nn.Linear(inputs, num_classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        outputs = []
        for s in range(self.stages):
            x = getattr(self, f"layer{s + 1}")(x)
            outputs.append(x)
        return outputs if self.fc is None else self.fc(x.mean((2, 3)))


RESNETS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


def resnet(
    depth: int, num_classes: int | None = 1000, small_images: bool = False, **options: Any
) -> Any:
    """tilework.models.resnet18 to resnet152."""
    counts, bottleneck = RESNETS[depth]
    stem = _conv(3, 64, 3) if small_images else _conv(3, 64, 7, 2)
    return _ResNet(
        counts, stem=stem, width=64, bottleneck=bottleneck, pool=not small_images,
        num_classes=num_classes, **options,
    )  # fmt: skip


def cifar_resnet(blocks: int, in_channels: int) -> Any:
    """tilework.models.CifarResNet."""
    stem = _conv(in_channels, 16, 3)
    return _ResNet((blocks,) * 3, stem=stem, width=16, bare=True, num_classes=10)


def fcn_resnet50(num_classes: int = 21) -> Any:
    """tilework.models.fcn_resnet50 with its second head."""

    def head(channels: int) -> Any:
        inner = channels // 4
        parts = [_conv(channels, inner, 3), nn.BatchNorm2d(inner), nn.ReLU(), nn.Dropout(0.1)]
        return nn.Sequential(*parts, nn.Conv2d(inner, num_classes, 1))

    def call(net: Any, x: Any) -> Any:
        *_, third, fourth = net.backbone(x)
        found = {"out": net.classifier(fourth), "aux": net.aux_classifier(third)}
        return {
            name: F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)
            for name, y in found.items()
        }

    backbone = resnet(50, None, strides=(1, 2, 1, 1), dilations=((1, 1), (1, 1), (1, 2), (2, 4)))
    return _Named(backbone=backbone, classifier=head(2048), aux_classifier=head(1024), call=call)


def unet(in_channels: int, num_classes: int, width: int, depth: int = 4) -> Any:
    """tilework.models.UNet."""

    def twice(inputs: int, outputs: int) -> Any:
        parts: list[Any] = []
        for channels in (inputs, outputs):
            parts += [_conv(channels, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*parts)

    def call(net: Any, x: Any) -> Any:
        beside = [net.down[0](x)]
        for level in range(1, depth + 1):
            beside.append(net.down[level](F.max_pool2d(beside[-1], 2)))
        x = beside.pop()
        for up, merge in zip(net.up, net.merge, strict=True):
            x = merge(torch.cat([up(x), beside.pop()], 1))
        return net.head(x)

    widths = [width * 2**level for level in range(depth + 1)]
    upwards = widths[:-1][::-1]
    return _Named(
        down=nn.ModuleList(map(twice, [in_channels, *widths[:-1]], widths)),
        up=nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in upwards),
        merge=nn.ModuleList(twice(2 * w, w) for w in upwards),
        head=nn.Conv2d(width, num_classes, 1),
        call=call,
    )
