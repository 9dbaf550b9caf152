"""GoogLeNet with its auxiliary heads on Fashion-MNIST for one pass (Szegedy et al. 2015).

Of the published number of parameters, 1000 classes and 3 channels are taken away.
"""

from __future__ import annotations

from typing import Any

from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

_AUXILIARY = 0.3  # the weight of each, as in the paper


def loss(functional: Any, output: Any, target: Any) -> Any:
    """The cross entropy, and in training those of the auxiliary heads besides."""
    if not isinstance(output, tuple):
        return functional.cross_entropy(output, target)
    main, *heads = (functional.cross_entropy(scores, target) for scores in output)
    return main + sum(heads) * _AUXILIARY


RECIPE = _images.classifier(
    title="GoogLeNet, one pass of Fashion-MNIST at 32x32",
    file="googlenet",
    network=lambda file, images: file.googlenet(len(images.classes), in_channels=1),
    batches=_images.enlarged(32),
    optimisation=Optimisation(kind="adam", lr=2e-3, one_cycle=True),
    epochs=1,
    loss=loss,
    goal=0.85,
    parameters=13_004_888 - 3 * 990 * (1024 + 1) - 2 * 64 * 49,
)
