"""A multilayer perceptron on measurements of people with diabetes: how far it will have gone."""

from __future__ import annotations

import dataclasses

from tilework.metrics import MSE
from tilework.train.recipe import Optimisation
from tilework.train.recipes import _tables, breast_cancer

_HIDDEN = 16

RECIPE = dataclasses.replace(
    breast_cancer.RECIPE,
    title="multilayer perceptron: how far diabetes goes in a year",
    data="diabetes",
    network=lambda file, table: file.MLP([len(table.columns), _HIDDEN, 1], dropout=0.2),
    optimisation=Optimisation(kind="adamw", lr=1e-2, weight_decay=0.3, one_cycle=True),
    loss="mse_loss",
    metrics=lambda: [MSE()],
    goal=0.8,  # of the training part's variance
    baseline=_tables.mean,
    parameters=10 * _HIDDEN + _HIDDEN + _HIDDEN + 1,
)
