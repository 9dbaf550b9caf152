"""How well a text is foretold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilework.errors import error
from tilework.metrics.metric import Mean, Metric, array_of


class Perplexity(Metric):
    """e to the mean negative log-likelihood of the targets.

    Outputs are logits (N, C, ...) or, with the classes last, (N, L, C) beside targets (N, L).
    `ignore_index` is a target that is left out.

    >>> metrics.Perplexity()(tw.zeros(2, 5, 4), tw.zeros(2, 5, dtype=tw.int64))
    4.0
    """

    name = "perplexity"
    higher_is_better = False

    def __init__(self, ignore_index: int = -100) -> None:
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        self._nats = Mean()

    def update(self, output: Any, target: Any) -> None:
        logits, true = array_of(output).astype(np.float64), array_of(target)
        if logits.shape[:-1] != true.shape:
            if logits.shape[:1] + logits.shape[2:] != true.shape:
                raise error(
                    ValueError, type(self).__name__, "logits (N, C, ...) or (..., C), and targets",
                    f"{logits.shape} and {true.shape}", "move the classes to the last axis",
                )  # fmt: skip
            logits = np.moveaxis(logits, 1, -1)
        kept = true != self.ignore_index
        rows, true = logits[kept], true[kept]
        top = rows.max(-1, keepdims=True, initial=-math.inf)
        sums = np.log(np.exp(rows - top).sum(-1)) + top[..., 0]
        chosen = np.take_along_axis(rows, true[..., None].astype(np.int64), -1)[..., 0]
        self._nats.add(float((sums - chosen).sum()), true.size)

    def compute(self) -> float:
        return math.exp(self._nats.value())


class BitsPerByte(Perplexity):
    """Bits that a code by the model's probabilities would take for each byte of text.

    Outputs and targets as Perplexity's. `bytes_per_token` is the text's bytes divided by its
    tokens; 1 where tokens are bytes.

    >>> metrics.BitsPerByte()(tw.zeros(1, 3, 256), tw.zeros(1, 3, dtype=tw.int64))
    8.0
    """

    name = "bits_per_byte"

    def __init__(self, bytes_per_token: float = 1.0, ignore_index: int = -100) -> None:
        self.bytes_per_token = bytes_per_token
        super().__init__(ignore_index)

    def compute(self) -> float:
        return self._nats.value() / math.log(2.0) / self.bytes_per_token
