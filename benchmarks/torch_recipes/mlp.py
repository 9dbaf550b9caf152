"""`tilework train mlp` beside PyTorch: see side_by_side."""

from __future__ import annotations

from typing import Any

from tilework.benchmarks.torch_recipes.side_by_side import main
from tilework.data import ImageSet
from tilework.train import mlp


def torch_model(images: ImageSet, recipe: mlp.Recipe) -> Any:
    """The recipe's network in PyTorch."""
    from tilework.testing import torch_models

    return torch_models.mlp(recipe.sizes(images), recipe.dropout)


if __name__ == "__main__":
    main(mlp, torch_model)
