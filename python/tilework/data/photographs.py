"""Photographs that come with scikit-image and scikit-learn."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilework.data.folder import read_image
from tilework.errors import error

# Of no photograph is another view in the other part.
_TRAIN = (
    "skimage/data/astronaut.png", "skimage/data/brick.png", "skimage/data/camera.png",
    "skimage/data/grass.png", "skimage/data/gravel.png", "skimage/data/moon.png",
    "skimage/data/motorcycle_left.png", "sklearn/datasets/images/flower.jpg",
)  # fmt: skip
_TEST = (
    "skimage/data/chelsea.png", "skimage/data/coffee.png", "skimage/data/coins.png",
    "skimage/data/rocket.jpg", "sklearn/datasets/images/china.jpg",
)  # fmt: skip


@dataclass(frozen=True)
class Photographs:
    """Luminances (H, W) of photographs, float32 in [0, 1], each of its own size: to learn from, and
    to judge by, whose names are `names`."""

    train: tuple[NDArray[np.float32], ...]
    test: tuple[NDArray[np.float32], ...]
    names: tuple[str, ...]


def photographs() -> Photographs:
    """Eight photographs to learn from, and five to judge by: an astronaut, bricks, a cameraman,
    grass, gravel, the moon, a motorcycle and a flower; a cat, coffee, coins, a rocket and a palace.

    Of scikit-image (public domain, CC0 and CC BY: its data/README says which) and scikit-learn (CC
    BY). The packages are looked up, not imported. FileNotFoundError where one is not installed or
    lacks a picture, ImportError without Pillow, which reads them.
    """
    train, test = (tuple(_luminance(name) for name in part) for part in (_TRAIN, _TEST))
    return Photographs(train, test, tuple(Path(name).stem for name in _TEST))


def _luminance(name: str) -> NDArray[np.float32]:
    package, _, path = name.partition("/")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders or not (file := Path(folders[0]) / path).is_file():
        raise error(
            FileNotFoundError, "photographs", "scikit-image and scikit-learn, with their pictures",
            f"no {name}", "pip install 'tilework[data,sklearn]'",
        )  # fmt: skip
    found: NDArray[np.float32] = read_image(file, mode="L").numpy()[0]
    return found
