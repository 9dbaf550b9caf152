"""EfficientNet-B0 on Fashion-MNIST for one pass (Tan and Le 2019).

Of the published number of parameters, 1000 classes and 3 channels are taken away.
"""

from __future__ import annotations

from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

RECIPE = _images.classifier(
    title="EfficientNet-B0, one pass of Fashion-MNIST at 32x32",
    file="efficientnet",
    network=lambda file, images: file.efficientnet_b0(len(images.classes), in_channels=1),
    batches=_images.enlarged(32),
    optimisation=Optimisation(kind="adam", lr=4e-3, one_cycle=True),
    epochs=1,
    goal=0.8,
    parameters=5_288_548 - 990 * (1280 + 1) - 2 * 32 * 9,
)
