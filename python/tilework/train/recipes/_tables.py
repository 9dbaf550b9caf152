"""What recipes of tables share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data import DataLoader, Table, TensorDataset
from tilework.metrics import MSE
from tilework.train.recipe import Baseline, Batches


def standardised(table: Table) -> tuple[NDArray[Any], ...]:
    """Rows and targets to learn from, and to judge by: rows, and targets that are numbers, shifted
    and scaled as makes those to learn from standard."""
    train, test = _standard(table.train, table.test)
    targets = table.train_targets, table.test_targets
    if not table.classes:
        targets = _standard(*targets)
    return train, targets[0], test, targets[1]


def _standard(train: NDArray[Any], test: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    mean, deviation = train.mean(0), train.std(0)
    return (train - mean) / deviation, (test - mean) / deviation


def batches(table: Table, batch_size: int) -> Batches:
    train, train_targets, test, test_targets = standardised(table)
    return Batches(
        DataLoader(TensorDataset(train, train_targets), batch_size, shuffle=True),
        DataLoader(TensorDataset(test, test_targets), 20),
    )


def few(table: Table, count: int) -> Table:
    """The first rows of both parts."""
    return dataclasses.replace(
        table,
        train=table.train[:count], train_targets=table.train_targets[:count],
        test=table.test[:count], test_targets=table.test_targets[:count],
    )  # fmt: skip


def linear(table: Table) -> tuple[str, float]:
    """How well scikit-learn's linear model does: accuracy by logistic regression, or squared error
    by ridge regression, whose penalty it chooses by leaving each training row out in turn."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    train, train_targets, test, test_targets = standardised(table)
    if table.classes:
        model = LogisticRegression(max_iter=1000).fit(train, train_targets)
        return "logistic regression", float(model.score(test, test_targets))
    ridge = RidgeCV(np.logspace(-2, 3, 20)).fit(train, train_targets.reshape(-1))
    return "ridge regression", MSE()(ridge.predict(test), test_targets.reshape(-1))


def majority(table: Table) -> Baseline:
    """Always naming the most frequent class; a linear model stands beside it."""
    name, value = linear(table)
    return Baseline(f"the majority class; {name} {value:.4g}", table.majority_accuracy())


def mean(table: Table) -> Baseline:
    """Squared error of always saying the training part's mean; a linear model stands beside it."""
    name, value = linear(table)
    _, _, _, targets = standardised(table)
    return Baseline(f"the mean; {name} {value:.4g}", MSE()(np.zeros_like(targets), targets))
