"""The fully convolutional network, with torchvision's names."""

from __future__ import annotations

from tilework import functional as F
from tilework import nn
from tilework.models.resnet import Block, Bottleneck, ResNetTrunk
from tilework.tensor import Tensor


class FCNHead(nn.Sequential):
    """Features to class scores: a 3x3 convolution to a quarter of the channels, and a 1x1 one."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        inner = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inner, num_classes, 1),
        )


class FCN(nn.Module):
    """A ResNet whose last two stages are dilated rather than strided, and a head on its features,
    spread to the input's size (Long et al. 2015).

    Takes (N, 3, H, W), gives {"out": (N, num_classes, H, W)}; with `aux_loss` also "aux", the
    scores of a second head, on the third stage.
    """

    def __init__(
        self, block: Block, layers: tuple[int, ...], num_classes: int, aux_loss: bool
    ) -> None:
        super().__init__()
        self.backbone = ResNetTrunk(block, layers, replace_stride_with_dilation=(False, True, True))
        channels = self.backbone.channels
        self.classifier = FCNHead(channels, num_classes)
        self.aux_classifier = FCNHead(channels // 2, num_classes) if aux_loss else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        heads = {"out": (self.classifier, features[-1])}
        if self.aux_classifier is not None:
            heads["aux"] = (self.aux_classifier, features[-2])
        return {
            name: F.interpolate(head(y), size=x.shape[2:], mode="bilinear", align_corners=False)
            for name, (head, y) in heads.items()
        }


def fcn_resnet50(num_classes: int = 21, aux_loss: bool = False) -> FCN:
    """FCN on ResNet-50.

    >>> fcn_resnet50()(tw.zeros(1, 3, 32, 32))["out"].shape
    (1, 21, 32, 32)
    """
    return FCN(Bottleneck, (3, 4, 6, 3), num_classes, aux_loss)


def fcn_resnet101(num_classes: int = 21, aux_loss: bool = False) -> FCN:
    """FCN on ResNet-101."""
    return FCN(Bottleneck, (3, 4, 23, 3), num_classes, aux_loss)
