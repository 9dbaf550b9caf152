"""Figures of an order: they need every score, and so keep them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.errors import error
from tilework.metrics.metric import Counts, Floats, Metric, array_of


def _of_class(scores: NDArray[Any], c: int) -> NDArray[Any]:
    """What ranks samples (N, C) by the probability of class c: that itself, and of logits, which
    are not all in [0, 1], the log odds of their softmax."""
    if scores.shape[1] == 1 or (scores.min() >= 0 and scores.max() <= 1):
        return scores[:, c]
    others = np.delete(scores.astype(np.float64), c, 1)
    most = others.max(1)
    odds: NDArray[Any] = scores[:, c] - most - np.log(np.exp(others - most[:, None]).sum(1))
    return odds


class _Ranking(Metric):
    """One figure of a binary ranking; of several classes the mean of each against the rest."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._scores: list[NDArray[Any]] = []
        self._targets: list[NDArray[Any]] = []

    def update(self, output: Any, target: Any) -> None:
        scores, true = array_of(output), array_of(target)
        if scores.ndim == 2 and scores.shape[1] == 1:
            scores = scores[:, 0]
        if true.ndim == 2 and true.shape[1] == 1:
            true = true[:, 0]
        if true.ndim != 1 or scores.ndim not in (1, 2) or len(scores) != len(true):
            raise error(
                ValueError, type(self).__name__, "scores (N,) or (N, C) and labels (N,)",
                f"{scores.shape} and {true.shape}", "flatten them",
            )  # fmt: skip
        if scores.ndim == 1 and not np.isin(true, (0, 1)).all():
            raise error(
                ValueError, type(self).__name__, "labels 0 and 1 beside one score each",
                f"labels {true.min()} to {true.max()}", "give scores (N, C) of several classes",
            )  # fmt: skip
        self._scores.append(scores)
        self._targets.append(true)

    def compute(self) -> float:
        if not any(map(len, self._scores)):
            return float("nan")
        scores, true = np.concatenate(self._scores), np.concatenate(self._targets)
        if np.isnan(scores).any():
            return float("nan")
        if scores.ndim == 1:
            return self._binary(true.astype(np.int64), scores)
        each = [
            self._binary((true == c).astype(np.int64), _of_class(scores, int(c)))
            for c in np.unique(true)
        ]
        return float(np.mean(each))

    @staticmethod
    def _binary(true: Counts, scores: NDArray[Any]) -> float:
        raise NotImplementedError


def _steps(true: Counts, scores: NDArray[Any]) -> tuple[Floats, Floats]:
    """Positives and negatives at or above each distinct score, from the highest on."""
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], true[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(positive)[last].astype(np.float64)
    return hits, last + 1.0 - hits


class ROCAUC(_Ranking):
    """The area under the receiver operating characteristic: the chance that a positive's score is
    above a negative's, ties counted half. NaN where there are positives or negatives alone, and
    where a score is NaN.

    Scores (N,) with labels 0 and 1, or (N, C) with classes: then the mean of each class against the
    rest, by its probability; of scores that are not all in [0, 1], logits, by that of their
    softmax. Keeps every score.

    >>> metrics.ROCAUC()(tw.tensor([0.1, 0.4, 0.35, 0.8]), tw.tensor([0, 0, 1, 1]))
    0.75
    """

    name = "roc_auc"

    @staticmethod
    def _binary(true: Counts, scores: NDArray[Any]) -> float:
        hits, misses = (np.concatenate([[0.0], x]) for x in _steps(true, scores))
        if hits[-1] == 0 or misses[-1] == 0:
            return float("nan")
        area = np.sum(np.diff(misses) * (hits[1:] + hits[:-1]) / 2)
        return float(area / (hits[-1] * misses[-1]))


class AveragePrecision(_Ranking):
    """Precision at each score's threshold, weighted by the recall that it adds. NaN without
    positives. Scores and labels as ROCAUC's.

    >>> metrics.AveragePrecision()(tw.tensor([0.1, 0.4, 0.8]), tw.tensor([1, 0, 1]))
    0.8333333333333333
    """

    name = "average_precision"

    @staticmethod
    def _binary(true: Counts, scores: NDArray[Any]) -> float:
        hits, misses = _steps(true, scores)
        if hits[-1] == 0:
            return float("nan")
        added = np.diff(np.concatenate([[0.0], hits])) / hits[-1]
        return float(np.sum(added * hits / (hits + misses)))
