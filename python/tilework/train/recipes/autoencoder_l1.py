"""A sparse autoencoder: few of the code's 16 numbers are far from 0, as their size costs."""

from __future__ import annotations

import dataclasses
from typing import Any

from tilework.train.recipes import _reconstruction, autoencoder

_HIDDEN, _CODE = 256, 16
_WEIGHT = 5e-4


def loss(F: Any, output: Any, target: Any) -> Any:
    image, code = output
    return F.mse_loss(image, target) + _WEIGHT * code.abs().mean()


RECIPE = dataclasses.replace(
    autoencoder.RECIPE,
    title="sparse autoencoder, 16 numbers whose size costs",
    network=lambda file, images: file.SparseAutoencoder([784, _HIDDEN, _CODE]),
    loss=loss,
    metrics=lambda: [_reconstruction.Reconstruction()],
    goal=0.0143,  # 0.7 of the principal components'
    baseline=_reconstruction.components(_CODE),
    parameters=2 * 784 * _HIDDEN + 2 * _HIDDEN * _CODE + 2 * _HIDDEN + _CODE + 784,
)
