"""VGG-11 with batch norm, of a quarter of its widths, on Fashion-MNIST (Simonyan and
Zisserman 2015).

Images are enlarged to 32 pixels a side, which its five poolings leave one of.
"""

from __future__ import annotations

import itertools

from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

_CHANNELS = (1, 16, 32, 64, 64, 128, 128, 128, 128)


RECIPE = _images.classifier(
    title="VGG-11 with batch norm, a quarter as wide, on Fashion-MNIST",
    file="vgg",
    network=lambda file, images: file.vgg11_bn(
        len(images.classes), in_channels=1, width=0.25, pooled=1
    ),
    batches=_images.enlarged(32),
    optimisation=Optimisation(kind="adam", lr=2e-3, one_cycle=True),
    epochs=5,
    goal=0.915,
    parameters=(
        sum(9 * a * b + 3 * b for a, b in itertools.pairwise(_CHANNELS))
        + (128 + 1 + 1024 + 1) * 1024
        + (1024 + 1) * 10
    ),
)
