"""A convolutional autoencoder of 16 numbers an image of Fashion-MNIST (Masci et al. 2011)."""

from __future__ import annotations

import dataclasses

from tilework.train.recipe import Optimisation
from tilework.train.recipes import autoencoder

_WIDTH, _CODE = 8, 16
_FLAT = 2 * _WIDTH * 7 * 7

RECIPE = dataclasses.replace(
    autoencoder.RECIPE,
    title="convolutional autoencoder of 16 numbers an image",
    network=lambda file, images: file.ConvAutoencoder(28, _CODE, _WIDTH),
    optimisation=Optimisation(kind="adam", lr=4e-3, one_cycle=True),
    epochs=8,
    parameters=(
        _WIDTH * (9 + 1) + 2 * _WIDTH * (9 * _WIDTH + 1) + _CODE * (_FLAT + 1)
        + _FLAT * (_CODE + 1) + _WIDTH * (16 * 2 * _WIDTH + 1) + 16 * _WIDTH + 1
    ),
)  # fmt: skip
