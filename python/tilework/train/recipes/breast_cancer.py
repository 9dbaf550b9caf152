"""A multilayer perceptron on measurements of tumours: malignant or benign."""

from __future__ import annotations

from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _tables

_HIDDEN = 32

RECIPE = Recipe(
    title="multilayer perceptron: malignant or benign",
    file="mlp",
    data="breast-cancer",
    network=lambda file, table: file.MLP(
        [len(table.columns), _HIDDEN, len(table.classes)], dropout=0.2
    ),
    batches=_tables.batches,
    few=_tables.few,
    optimisation=Optimisation(kind="adamw", lr=1e-2, weight_decay=0.1, one_cycle=True),
    batch_size=32,
    epochs=20,
    metrics=lambda: [Accuracy()],
    goal=0.95,
    baseline=_tables.majority,
    parameters=30 * _HIDDEN + _HIDDEN + 2 * _HIDDEN + 2,
)
