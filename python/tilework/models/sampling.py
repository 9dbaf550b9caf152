"""How the next token is chosen by its scores: what is left out, and what is drawn.

Functions of NumPy arrays (N, vocabulary) in float64: a distribution's tail is what float32 loses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework import functional as F
from tilework.dtypes import float64
from tilework.errors import error

Array = Any


def penalised(scores: Array, seen: Array, penalty: float) -> Array:
    """Scores of tokens seen before (N, S) divided by the penalty where positive, multiplied by it
    where negative (Keskar et al., "CTRL", 2019): once a token, however often it was seen."""
    if penalty == 1.0 or not seen.shape[1]:
        return scores
    old = np.take_along_axis(scores, seen, 1)
    scores = scores.copy()
    np.put_along_axis(scores, seen, np.where(old < 0, old * penalty, old / penalty), 1)
    return scores


def best_k(scores: Array, k: int) -> Array:
    """All but the k largest scores, and such as are equal to the least of them, to -Inf."""
    if not 0 < k < scores.shape[1]:
        return scores
    least = np.partition(scores, -k, axis=1)[:, -k, None]
    return np.where(scores < least, -np.inf, scores)


def nucleus(scores: Array, p: float) -> Array:
    """All but the fewest of the likeliest tokens whose probabilities sum to p or more, to -Inf
    (Holtzman et al., "The curious case of neural text degeneration", 2019)."""
    if p >= 1.0:
        return scores
    order = np.argsort(-scores, axis=1, kind="stable")
    chances = np.take_along_axis(probabilities(scores), order, 1)
    before = np.cumsum(chances, 1) - chances
    dropped = np.empty(scores.shape, bool)
    dropped[np.arange(len(order))[:, None], order] = before >= p
    dropped[np.arange(len(order)), order[:, 0]] = False  # there is always one
    return np.where(dropped, -np.inf, scores)


def log_probabilities(scores: Array) -> Array:
    """The logarithm of softmax."""
    away = scores - scores.max(1, keepdims=True)
    return away - np.log(np.exp(away).sum(1, keepdims=True))


def probabilities(scores: Array) -> Array:
    """Softmax."""
    return np.exp(log_probabilities(scores))


def drawn(scores: Array) -> Array:
    """One token a row (N,), each with its probability, by tilework's random numbers."""
    ends = np.cumsum(probabilities(scores), 1)
    at = F.rand(len(scores), dtype=float64, device="cpu").numpy() * ends[:, -1]
    return np.array([np.searchsorted(row, a, "right") for row, a in zip(ends, at, strict=True)])


@dataclass(frozen=True)
class Sampling:
    """What generate() and stream() say about the choice of a token; checked here."""

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("temperature", self.temperature > 0, "above 0"),
            ("top_k", self.top_k >= 0, "from 0, which keeps all,"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
        ):
            if not fits:
                raise error(
                    ValueError, "generate", f"{name} {wanted}", getattr(self, name), "change it"
                )

    def choose(self, scores: Array, seen: Array) -> Array:
        """The next token of each row (N,), of scores (N, vocabulary) after tokens seen (N, S)."""
        scores = penalised(scores, seen, self.repetition_penalty)
        if not self.do_sample:
            return scores.argmax(1)
        return drawn(nucleus(best_k(scores / self.temperature, self.top_k), self.top_p))
