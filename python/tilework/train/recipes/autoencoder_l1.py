"""A sparse autoencoder: few of the code's 16 numbers are far from 0, as their size costs."""

from __future__ import annotations

import dataclasses
from typing import Any

from tilework.train.recipes import _reconstruction, autoencoder

_WEIGHT = 5e-4


def loss(F: Any, output: Any, target: Any) -> Any:
    image, code = output
    return F.mse_loss(image, target) + _WEIGHT * code.abs().mean()


RECIPE = dataclasses.replace(
    autoencoder.RECIPE,
    title="sparse autoencoder, 16 numbers whose size costs",
    network=lambda file, images: file.SparseAutoencoder([784, 256, 16]),
    loss=loss,
    metrics=lambda: [_reconstruction.Reconstruction()],
)
