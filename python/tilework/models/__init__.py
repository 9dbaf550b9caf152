"""Whole networks, one file a family."""

from tilework.models.fcn import FCN, fcn_resnet50, fcn_resnet101
from tilework.models.lenet import LeNet5
from tilework.models.mlp import MLP
from tilework.models.resnet import (
    CifarResNet,
    ResNet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from tilework.models.unet import UNet

__all__ = [
    "FCN",
    "MLP",
    "CifarResNet",
    "LeNet5",
    "ResNet",
    "UNet",
    "fcn_resnet50",
    "fcn_resnet101",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
]
