"""LeNet-5, with ReLU and max-pooling, on Fashion-MNIST (LeCun et al. 1998)."""

from __future__ import annotations

from tilework.data.augment import RandomHorizontalFlip
from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

RECIPE = _images.classifier(
    title="LeNet-5 on Fashion-MNIST",
    file="lenet",
    network=lambda file, images: file.LeNet5(len(images.classes)),
    batches=_images.standardised(RandomHorizontalFlip()),
    optimisation=Optimisation(kind="adam", lr=4e-3, one_cycle=True),
    epochs=20,
    goal=0.90,
    parameters=61_706,
)
