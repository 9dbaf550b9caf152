"""An autoencoder of 16 numbers an image of Fashion-MNIST, beside as many principal components."""

from __future__ import annotations

from tilework.metrics import MSE
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images, _reconstruction

_HIDDEN, _CODE = 256, 16

RECIPE = Recipe(
    title="autoencoder of 16 numbers an image",
    file="autoencoder",
    data="fashion-mnist",
    network=lambda file, images: file.Autoencoder([784, _HIDDEN, _CODE]),
    batches=_reconstruction.batches,
    few=_images.few,
    optimisation=Optimisation(kind="adam", lr=2e-3, one_cycle=True),
    batch_size=128,
    epochs=12,
    loss="mse_loss",
    metrics=lambda: [MSE()],
    goal=0.0143,  # 0.7 of the principal components'
    baseline=_reconstruction.components(_CODE),
    parameters=2 * 784 * _HIDDEN + 2 * _HIDDEN * _CODE + 2 * _HIDDEN + _CODE + 784,
    picture=_reconstruction.picture,
)
