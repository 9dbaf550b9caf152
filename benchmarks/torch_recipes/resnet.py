"""`tilework train resnet` beside PyTorch: see side_by_side."""

from __future__ import annotations

from typing import Any

from tilework.benchmarks.torch_recipes.side_by_side import main
from tilework.data import ImageSet
from tilework.train import resnet


def torch_model(images: ImageSet, recipe: resnet.Recipe) -> Any:
    """The recipe's network in PyTorch, in the layout that its faster kernels want."""
    import torch

    from tilework.testing import torch_models

    channels = images.train_images.shape[1]
    model = torch_models.cifar_resnet(recipe.blocks, channels, recipe.width)
    return model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main(resnet, torch_model)
