"""GoogLeNet with its auxiliary heads on Fashion-MNIST for one pass (Szegedy et al. 2015).

Of the published number of parameters, 1000 classes and 3 channels are taken away.
"""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images

_AUXILIARY = 0.3  # the weight of each, as in the paper


def loss(functional: Any, output: Any, target: Any) -> Any:
    """The cross entropy, and in training those of the auxiliary heads besides."""
    if not isinstance(output, tuple):
        return functional.cross_entropy(output, target)
    main, *heads = (functional.cross_entropy(scores, target) for scores in output)
    return main + sum(heads) * _AUXILIARY


def network(file: Any, images: ImageSet) -> Any:
    return file.googlenet(len(images.classes), in_channels=1)


RECIPE = Recipe(
    title="GoogLeNet, one pass of Fashion-MNIST at 32x32",
    file="googlenet",
    data="fashion-mnist",
    network=network,
    batches=_images.enlarged(32),
    few=_images.few,
    optimisation=Optimisation(kind="adam", lr=2e-3, one_cycle=True),
    batch_size=128,
    epochs=1,
    loss=loss,
    metrics=lambda: [Accuracy()],
    goal=0.85,
    baseline=_images.majority,
    parameters=13_004_888 - 3 * 990 * (1024 + 1) - 2 * 64 * 49,
)
