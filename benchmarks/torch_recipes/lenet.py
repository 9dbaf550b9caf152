"""`tilework train lenet` beside PyTorch: see side_by_side."""

from __future__ import annotations

from typing import Any

from tilework.benchmarks.torch_recipes.side_by_side import main
from tilework.data import ImageSet
from tilework.train import lenet
from tilework.train.classifier import Recipe


def torch_model(images: ImageSet, recipe: Recipe) -> Any:
    """The recipe's network in PyTorch."""
    from tilework.testing import torch_models

    return torch_models.lenet()


if __name__ == "__main__":
    main(lenet, torch_model)
