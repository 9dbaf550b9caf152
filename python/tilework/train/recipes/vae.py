"""A variational autoencoder of 8 numbers an image of Fashion-MNIST (Kingma and Welling 2014)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tilework import functional as F
from tilework.autograd import no_grad
from tilework.data import ImageSet, TensorDataset, TransformedDataset
from tilework.tensor import Tensor
from tilework.train.recipe import Batches, Outcome
from tilework.train.recipes import _reconstruction, autoencoder

_HIDDEN, _CODE = 256, 8
_PIXELS = 784
_SIDE = 12  # images a side of the picture


def loss(F: Any, output: Any, target: Any) -> Any:
    """The evidence's bound a pixel, negated, but for a constant.

    Pixels are normal about the image, of the variance that suits the batch best, so that nothing
    has to weigh the two terms (Rybkin, Daniilidis and Levine 2021)."""
    image, mean, log_variance = output
    apart = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    return 0.5 * F.mse_loss(image, target).log() + apart / _PIXELS


def _drawn(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return images, F.randn(images.shape[0], _CODE), target


def batches(images: ImageSet, batch_size: int) -> Batches:
    """Images, noise, and the images again; they are judged by the mean code, without noise."""
    train, test = images.train_images, images.test_images
    noiseless = np.zeros((len(test), _CODE), np.float32)
    return _reconstruction.loaders(
        TransformedDataset(TensorDataset(train, train), _drawn),
        TensorDataset(test, noiseless, test), batch_size,
    )  # fmt: skip


def picture(outcome: Outcome, images: ImageSet, path: Path) -> None:
    """On the left images of random codes; on the right, row by row, the walk from one held-out
    image's code to another's along a straight line."""
    vae: Any = outcome.model
    with no_grad():
        _, codes, _ = vae(F.as_tensor(images.test_images[: 2 * _SIDE]))
        start, end = codes[:_SIDE].unsqueeze(1), codes[_SIDE:].unsqueeze(1)
        steps = F.linspace(0.0, 1.0, _SIDE).reshape(1, _SIDE, 1)
        walk = (start + steps * (end - start)).reshape(_SIDE**2, _CODE)
        found = [vae.decode(x).numpy() for x in (F.randn(_SIDE**2, _CODE), walk)]
    panels = [_reconstruction.rows(*x.reshape(_SIDE, _SIDE, 1, 28, 28)) for x in found]
    gap = np.ones((_SIDE * 28, 8))
    _reconstruction.save(np.concatenate([panels[0], gap, panels[1]], 1), path)


RECIPE = dataclasses.replace(
    autoencoder.RECIPE,
    title="variational autoencoder of 8 numbers an image",
    file="vae",
    network=lambda file, images: file.VAE([_PIXELS, _HIDDEN, _CODE]),
    batches=batches,
    loss=loss,
    metrics=lambda: [_reconstruction.Reconstruction()],
    goal=0.0186,  # 0.7 of the principal components'
    baseline=_reconstruction.components(_CODE),
    parameters=2 * _PIXELS * _HIDDEN + 3 * _HIDDEN * _CODE + 2 * _HIDDEN + 2 * _CODE + _PIXELS,
    picture=picture,
)
