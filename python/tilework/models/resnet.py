"""Residual networks (He et al. 2016): ImageNet's with torchvision's names, and CIFAR's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tilework import functional as F
from tilework import nn
from tilework.models.initial import initialise_convolution
from tilework.tensor import Tensor


def conv3x3(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(
        inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which `downsample` makes fit."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, planes, stride, dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x), activation="relu")
        result: Tensor = self.bn2(self.conv2(x), activation="relu", residual=shortcut)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride is the 3x3 one's, as in
    torchvision."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, stride, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x), activation="relu")
        x = self.bn2(self.conv2(x), activation="relu")
        result: Tensor = self.bn3(self.conv3(x), activation="relu", residual=shortcut)
        return result


Block = type[BasicBlock] | type[Bottleneck]


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )


class Subsample(nn.Module):
    """The shortcut without parameters: every `stride`-th pixel, and zeros for the new channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


def _stage(
    block: Block,
    inputs: int,
    planes: int,
    blocks: int,
    stride: int,
    dilations: tuple[int, int] = (1, 1),
    shortcut: Callable[[int, int, int], nn.Module] = _projection,
) -> nn.Sequential:
    """Blocks of one size: the first takes the stride and the first dilation."""
    outputs = planes * block.expansion
    first = shortcut(inputs, outputs, stride) if stride != 1 or inputs != outputs else None
    return nn.Sequential(
        block(inputs, planes, stride, dilations[0], first),
        *(block(outputs, planes, 1, dilations[1]) for _ in range(1, blocks)),
    )


class ResNetTrunk(nn.Module):
    """A ResNet up to its last stage: gives the outputs of all four.

    `replace_stride_with_dilation` says for stages 2 to 4 whether the image keeps its size there and
    the kernels are dilated instead. With `small_images` the stem is a 3x3 convolution of stride 1,
    as for images of 32x32.
    """

    def __init__(
        self,
        block: Block,
        layers: Sequence[int],
        *,
        in_channels: int = 3,
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        small_images: bool = False,
    ) -> None:
        super().__init__()
        if small_images:
            self.conv1 = conv3x3(in_channels, 64)
        else:
            self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        if small_images:
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, dilation, stages = 64, 1, []
        for i, (blocks, dilate) in enumerate(
            zip(layers, (False, *replace_stride_with_dilation), strict=True)
        ):
            stride, before = (1 if i == 0 or dilate else 2), dilation
            dilation *= 2 if dilate else 1
            stages.append(_stage(block, inputs, 64 << i, blocks, stride, (before, dilation)))
            inputs = (64 << i) * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = inputs
        self.apply(initialise_convolution)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The outputs of the four stages."""
        x = self.maxpool(self.bn1(self.conv1(x), activation="relu"))
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Any:
        """The outputs of the four stages."""
        return self.stages(x)


class ResNet(ResNetTrunk):
    """ResNetTrunk, the mean over the image, and a linear layer: (N, C, H, W) to (N, num_classes).

    >>> resnet18(num_classes=10, small_images=True)(tw.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(
        self, block: Block, layers: Sequence[int], num_classes: int = 1000, **options: Any
    ) -> None:
        super().__init__(block, layers, **options)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """The class scores."""
        result: Tensor = self.fc(self.avgpool(self.stages(x)[-1]).flatten(1))
        return result


def resnet18(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-18; options are ResNetTrunk's."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, **options)


def resnet34(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-34; options are ResNetTrunk's."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, **options)


def resnet50(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-50; options are ResNetTrunk's."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, **options)


def resnet101(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-101; options are ResNetTrunk's."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, **options)


def resnet152(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-152; options are ResNetTrunk's."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, **options)


class CifarResNet(nn.Module):
    """The ResNets of section 4.2 of the paper: three stages of 16, 32 and 64 channels, of `blocks`
    basic blocks each, with shortcuts that have no parameters. 6 blocks + 2 layers in all.

    >>> resnet20(in_channels=1)(tw.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """

    def __init__(
        self, blocks: int, num_classes: int = 10, *, in_channels: int = 3, width: int = 16
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        stage = functools.partial(_stage, BasicBlock, blocks=blocks, shortcut=Subsample)
        self.layer1 = stage(width, width, stride=1)
        self.layer2 = stage(width, 2 * width, stride=2)
        self.layer3 = stage(2 * width, 4 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        self.apply(initialise_convolution)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes)."""
        x = self.bn1(self.conv1(x), activation="relu")
        x = self.layer3(self.layer2(self.layer1(x)))
        result: Tensor = self.fc(self.avgpool(x).flatten(1))
        return result


def resnet20(num_classes: int = 10, **options: Any) -> CifarResNet:
    """The ResNet of 20 layers for CIFAR; options are CifarResNet's."""
    return CifarResNet(3, num_classes, **options)


def resnet32(num_classes: int = 10, **options: Any) -> CifarResNet:
    """The ResNet of 32 layers for CIFAR; options are CifarResNet's."""
    return CifarResNet(5, num_classes, **options)


def resnet44(num_classes: int = 10, **options: Any) -> CifarResNet:
    """The ResNet of 44 layers for CIFAR; options are CifarResNet's."""
    return CifarResNet(7, num_classes, **options)


def resnet56(num_classes: int = 10, **options: Any) -> CifarResNet:
    """The ResNet of 56 layers for CIFAR; options are CifarResNet's."""
    return CifarResNet(9, num_classes, **options)


def resnet110(num_classes: int = 10, **options: Any) -> CifarResNet:
    """The ResNet of 110 layers for CIFAR; options are CifarResNet's."""
    return CifarResNet(18, num_classes, **options)
