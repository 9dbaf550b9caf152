"""AlexNet, half as wide, on Fashion-MNIST for one pass (Krizhevsky 2014).

Its strides want images of 63 pixels a side at least: they are enlarged to 64.
"""

from __future__ import annotations

from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

RECIPE = _images.classifier(
    title="AlexNet, half as wide, one pass of Fashion-MNIST at 64x64",
    file="alexnet",
    network=lambda file, images: file.alexnet(len(images.classes), in_channels=1, width=0.5),
    batches=_images.enlarged(64),
    optimisation=Optimisation(kind="adam", lr=1e-3, one_cycle=True),
    epochs=1,
    goal=0.80,
    parameters=(
        32 * (121 + 1)
        + 96 * (32 * 25 + 1)
        + 192 * (96 * 9 + 1)
        + 128 * (192 * 9 + 1)
        + 128 * (128 * 9 + 1)
        + 2048 * (128 * 36 + 1)
        + 2048 * (2048 + 1)
        + 10 * (2048 + 1)
    ),
)
