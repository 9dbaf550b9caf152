"""GoogLeNet, which is Inception v1, with batch norm."""

from __future__ import annotations

from typing import Any, NamedTuple

from tilework import functional as F
from tilework import nn
from tilework.tensor import Tensor

# (inputs, 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, pooled) of each module: table 1 of the paper.
_MODULES = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class GoogLeNetOutputs(NamedTuple):
    """The class scores, and in training those of the two auxiliary heads, the later one first."""

    logits: Tensor
    aux_logits2: Tensor | None
    aux_logits1: Tensor | None


class BasicConv2d(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.conv(x), activation="relu")
        return result


class Inception(nn.Module):
    """Four ways side by side: 1x1, 3x3 and 5x5 (a second 3x3, as in torchvision) behind 1x1, and
    1x1 behind a pooling."""

    def __init__(
        self, inputs: int, one: int, reduced3: int, three: int, reduced5: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inputs, one, 1)
        self.branch2 = nn.Sequential(
            BasicConv2d(inputs, reduced3, 1), BasicConv2d(reduced3, three, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(inputs, reduced5, 1), BasicConv2d(reduced5, five, 3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), BasicConv2d(inputs, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        ways = (self.branch1, self.branch2, self.branch3, self.branch4)
        return F.cat([way(x) for way in ways], 1)


class InceptionAux(nn.Module):
    """Class scores from halfway, which bring gradients there."""

    def __init__(
        self, inputs: int, reduced: int, hidden: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.conv = BasicConv2d(inputs, reduced, 1)
        self.fc1 = nn.Linear(16 * reduced, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        result: Tensor = self.fc2(self.dropout(self.fc1(x, activation="relu")))
        return result


class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015): (N, in_channels, H, W) to
    (N, num_classes); in training with `aux_logits` to GoogLeNetOutputs.

    `width` scales the channels. Its state_dict is torchvision's.

    >>> model = GoogLeNet(10, aux_logits=True, width=0.125)
    >>> scores, later, earlier = model(tw.zeros(2, 3, 32, 32))
    >>> scores.shape, later.shape, model.eval()(tw.zeros(1, 3, 32, 32)).shape
    ((2, 10), (2, 10), (1, 10))
    """

    inception3a: nn.Module
    inception3b: nn.Module
    inception4a: nn.Module
    inception4b: nn.Module
    inception4c: nn.Module
    inception4d: nn.Module
    inception4e: nn.Module
    inception5a: nn.Module
    inception5b: nn.Module

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        *,
        in_channels: int = 3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        stem, wide, reduced, hidden = (int(n * width) for n in (64, 192, 128, 1024))
        self.conv1 = BasicConv2d(in_channels, stem, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(stem, stem, 1)
        self.conv3 = BasicConv2d(stem, wide, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        inputs = {}
        for name, sizes in _MODULES.items():
            inputs[name], *own = (int(n * width) for n in sizes)
            setattr(self, f"inception{name}", Inception(inputs[name], *own))
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.aux_logits = aux_logits
        if aux_logits:
            self.aux1 = InceptionAux(inputs["4b"], reduced, hidden, num_classes, dropout_aux)
            self.aux2 = InceptionAux(inputs["4e"], reduced, hidden, num_classes, dropout_aux)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Any:
        """The class scores; in training with auxiliary heads, GoogLeNetOutputs."""
        looks = self.training and self.aux_logits
        x = self.conv3(self.conv2(self.maxpool1(self.conv1(x))))
        x = self.inception3b(self.inception3a(self.maxpool2(x)))
        x = self.inception4a(self.maxpool3(x))
        earlier = self.aux1(x) if looks else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        later = self.aux2(x) if looks else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        scores = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(scores, later, earlier) if looks else scores


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)


def googlenet(num_classes: int = 1000, **options: Any) -> GoogLeNet:
    """GoogLeNet; options are its class's."""
    return GoogLeNet(num_classes, **options)
