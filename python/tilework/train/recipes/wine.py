"""A multilayer perceptron on measurements of wines: which of three cultivars."""

from __future__ import annotations

import dataclasses

from tilework.train.recipes import breast_cancer

RECIPE = dataclasses.replace(
    breast_cancer.RECIPE,
    title="multilayer perceptron: which cultivar of wine",
    data="wine",
    parameters=13 * 32 + 32 + 3 * 32 + 3,
)
