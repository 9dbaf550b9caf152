"""Tables that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data.dataset import random_split
from tilework.data.loader import numpy_generator
from tilework.data.sources import majority_accuracy
from tilework.errors import error

_HELD_OUT = 0.3


@dataclass(frozen=True)
class Table:
    """Rows of numbers, and what is to be said of each: a part to learn from and one to judge by.

    Attributes:
        name: What it is called here.
        columns: What a row's numbers are, by name.
        train, test: Rows, float32 (N, columns).
        train_targets, test_targets: A class's number each, int64 (N,), or a number, float32 (N, 1).
        classes: Their names; none where the targets are numbers.
    """

    name: str
    columns: tuple[str, ...]
    train: NDArray[np.float32]
    train_targets: NDArray[Any]
    test: NDArray[np.float32]
    test_targets: NDArray[Any]
    classes: tuple[str, ...] = ()

    def majority_accuracy(self) -> float:
        """The test accuracy of always naming the class most frequent in the training part."""
        return majority_accuracy(self.train_targets, self.test_targets)


def breast_cancer() -> Table:
    """569 tumours, of 30 measurements of their cells' nuclei: malignant or benign (Wolberg, Street
    and Mangasarian 1993; UCI, CC BY 4.0).

    Of scikit-learn, as are all tables here. Three tenths are judged by, drawn by seed 0, of each
    class its share. ImportError without scikit-learn.
    """
    return _split("breast-cancer", "load_breast_cancer")


def wine() -> Table:
    """178 wines of three cultivars, of 13 measurements (Aeberhard and Forina 1992; UCI, CC BY 4.0).

    Split, and ImportError, as for `breast_cancer`.
    """
    return _split("wine", "load_wine")


def diabetes() -> Table:
    """442 people with diabetes, of 10 measurements: how far it has gone a year later, from 25 to
    346 (Efron et al. 2004).

    Split, and ImportError, as for `breast_cancer`, by chance alone.
    """
    return _split("diabetes", "load_diabetes")


def _split(name: str, loader: str) -> Table:
    try:
        from sklearn import datasets
    except ImportError as reason:
        raise error(
            ImportError, name.replace("-", "_"), "scikit-learn, which has the table",
            "no such package", "pip install 'tilework[sklearn]'",
        ) from reason  # fmt: skip
    found = getattr(datasets, loader)()
    classes = tuple(map(str, getattr(found, "target_names", ())))
    rows = found.data.astype(np.float32)
    targets = found.target.astype(np.int64) if classes else found.target.astype(np.float32)[:, None]
    judged = round(_HELD_OUT * len(rows))
    train, test = (
        part.indices
        for part in random_split(
            rows, [len(rows) - judged, judged], numpy_generator(0),
            stratify=targets if classes else None,
        )
    )  # fmt: skip
    return Table(
        name, tuple(map(str, found.feature_names)), rows[train], targets[train], rows[test],
        targets[test], classes,
    )  # fmt: skip
