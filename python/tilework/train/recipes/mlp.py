"""A multilayer perceptron on handwritten digits."""

from __future__ import annotations

from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

RECIPE = _images.classifier(
    title="multilayer perceptron on handwritten digits",
    file="mlp",
    data="digits",
    network=lambda file, images: file.MLP([64, 256, 128, len(images.classes)], dropout=0.2),
    batches=_images.standardised(),
    optimisation=Optimisation(kind="adam", lr=1e-3),
    batch_size=32,
    epochs=40,
    goal=0.97,
    parameters=64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10,
)
