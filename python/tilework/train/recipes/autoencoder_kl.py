"""A sparse autoencoder: each of the code's 16 shares is asked to be small on the mean (Ng 2011)."""

from __future__ import annotations

import dataclasses
from typing import Any

from tilework.train.recipe import Optimisation
from tilework.train.recipes import autoencoder_l1

_SHARE = 0.2
_WEIGHT = 5e-4
_LEAST = 1e-6  # of a share, whose logarithm is taken


def loss(F: Any, output: Any, target: Any) -> Any:
    """The squared error, and the Kullback-Leibler divergence of coins that fall as often as the
    code's shares say from coins that fall as often as they are asked to."""
    image, code = output
    found = code.mean(0).clamp(_LEAST, 1.0 - _LEAST)
    apart = _SHARE * (_SHARE / found).log() + (1 - _SHARE) * ((1 - _SHARE) / (1 - found)).log()
    return F.mse_loss(image, target) + _WEIGHT * apart.sum()


RECIPE = dataclasses.replace(
    autoencoder_l1.RECIPE,
    title="sparse autoencoder, 16 shares that are small on the mean",
    network=lambda file, images: file.SparseAutoencoder([784, 256, 16], "sigmoid"),
    # Sigmoids learn slowly.
    optimisation=Optimisation(kind="adam", lr=6e-3, one_cycle=True),
    loss=loss,
)
