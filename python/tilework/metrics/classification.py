"""Accuracy, and what follows from a confusion matrix."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tilework.errors import error
from tilework.metrics.metric import Counts, Floats, Mean, Metric, array_of, labels_of

Average = Literal["binary", "macro", "micro", "weighted"]


class Accuracy(Metric):
    """The share of samples whose class is right; with `k`, is among the k largest scores.

    Outputs are scores (N, C, ...), of which the largest says the class, labels (N, ...), or one
    score each, class 1 above `threshold` (0 is that of a logit). Targets are labels (N, ...). Of
    equal scores the first class counts as the largest.

    >>> top = metrics.Accuracy(k=2)
    >>> top(tw.tensor([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]]), tw.tensor([2, 0])), top.name
    (0.5, 'top2_accuracy')
    """

    def __init__(self, k: int = 1, threshold: float = 0.0) -> None:
        if k < 1:
            raise error(ValueError, "Accuracy", "k of at least 1", k, "raise it")
        self.k = k
        self.threshold = threshold
        self.name = "accuracy" if k == 1 else f"top{k}_accuracy"
        self.reset()

    def reset(self) -> None:
        self._right = Mean()

    def update(self, output: Any, target: Any) -> None:
        if self.k == 1:
            found, true = labels_of("Accuracy", output, target, self.threshold)
            self._right.add(int((found == true).sum()), true.size)
            return
        scores, true = array_of(output), array_of(target)
        if scores.ndim != true.ndim + 1 or scores.shape[1] < self.k:
            raise error(
                ValueError, "Accuracy", f"scores (N, C, ...) of at least {self.k} classes",
                scores.shape, "lower k, or give a score for each class",
            )  # fmt: skip
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        self._right.add(int((best == true[:, None]).sum()), true.size)

    def compute(self) -> float:
        return self._right.value()


class ConfusionMatrix(Metric):
    """How often class i was taken for class j: counts (C, C), rows the true classes.

    Outputs and targets as Accuracy's. `classes` is the number of them; by default as many as
    turn up. ValueError on labels below 0, or beyond `classes`; `ignore_index` is a target that is
    left out.

    >>> metrics.ConfusionMatrix()(tw.tensor([0, 1, 1]), tw.tensor([0, 0, 1])).tolist()
    [[1, 1], [0, 1]]
    """

    name = "confusion"

    def __init__(
        self, classes: int | None = None, threshold: float = 0.0, ignore_index: int | None = None
    ) -> None:
        self.classes = classes
        self.threshold = threshold
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        self._counts: Counts = np.zeros((self.classes or 0,) * 2, np.int64)

    def update(self, output: Any, target: Any) -> None:
        found, true = labels_of(type(self).__name__, output, target, self.threshold)
        if self.ignore_index is not None:
            kept = true != self.ignore_index
            found, true = found[kept], true[kept]
        if not true.size:
            return
        least, most = min(found.min(), true.min()), max(found.max(), true.max())
        if least < 0 or (self.classes is not None and most >= self.classes):
            raise error(
                ValueError, type(self).__name__, f"labels from 0, below {self.classes or 'any'}",
                f"{least} to {most}", "number the classes from 0, or pass ignore_index",
            )  # fmt: skip
        size = max(len(self._counts), int(most) + 1)
        if size > len(self._counts):
            grown = np.zeros((size, size), np.int64)
            grown[: len(self._counts), : len(self._counts)] = self._counts
            self._counts = grown
        self._counts += np.bincount(true * size + found, minlength=size**2).reshape(size, size)

    def compute(self) -> Any:
        return self._counts.copy()

    def _hits(self) -> tuple[Floats, Floats, Floats]:
        """Of each class: how often it was right, found, and true."""
        counts = self._counts.astype(np.float64)
        return np.diagonal(counts), counts.sum(0), counts.sum(1)


class OfClasses(ConfusionMatrix):
    """A figure of each class, averaged.

    `average`: "macro" over classes that turned up, "weighted" by how many samples each has, "micro"
    over all samples at once, "binary" that of class 1 alone, None each class's.
    """

    def __init__(
        self,
        average: Average | None = "macro",
        classes: int | None = None,
        threshold: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        if average not in ("binary", "macro", "micro", "weighted", None):
            raise error(
                ValueError, type(self).__name__,
                "average of binary, macro, micro, weighted or None", repr(average), "name one",
            )  # fmt: skip
        self.average = average
        super().__init__(classes, threshold, ignore_index)

    @staticmethod
    def _share(right: Floats, found: Floats, true: Floats) -> Floats:
        """The figure, of arrays of classes; 0 where it would be 0 / 0."""
        raise NotImplementedError

    def compute(self) -> Any:
        right, found, true = self._hits()
        if self.average == "micro":
            sums = (np.array([x.sum()]) for x in (right, found, true))
            return float(self._share(*sums)[0])
        each = self._share(right, found, true)
        if self.average is None:
            return each
        if self.average == "binary":
            return float(each[1]) if len(each) > 1 else 0.0
        seen = found + true > 0
        if not seen.any():
            return float("nan")
        weights = true if self.average == "weighted" else seen
        return float(np.average(each, weights=weights))


def ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


class Precision(OfClasses):
    """Of what was taken for a class, the share that is of it; averaged as `average` says.

    "macro" over classes that turned up, "weighted" by each one's samples, "micro" over all samples
    at once, "binary" that of class 1, None an array of each class's. 0 for a class never found.
    The rest as ConfusionMatrix.

    >>> metrics.Precision("binary")(tw.tensor([1, 1, 0]), tw.tensor([1, 0, 0]))
    0.5
    """

    name = "precision"

    @staticmethod
    def _share(right: Floats, found: Floats, true: Floats) -> Floats:
        return ratio(right, found)


class Recall(OfClasses):
    """Of what is of a class, the share that was found; averaged as Precision.

    >>> metrics.Recall("binary")(tw.tensor([1, 1, 0]), tw.tensor([1, 0, 1]))
    0.5
    """

    name = "recall"

    @staticmethod
    def _share(right: Floats, found: Floats, true: Floats) -> Floats:
        return ratio(right, true)


class F1(OfClasses):
    """The harmonic mean of precision and recall, class by class; averaged as Precision.

    >>> metrics.F1("binary")(tw.tensor([1, 1, 0]), tw.tensor([1, 0, 1]))
    0.5
    """

    name = "f1"

    @staticmethod
    def _share(right: Floats, found: Floats, true: Floats) -> Floats:
        return ratio(2 * right, found + true)
