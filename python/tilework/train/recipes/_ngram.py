"""What text costs by counting: the baseline of language models."""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 0.1  # of a discount

Keys = NDArray[np.uint64]


def kneser_ney(train: bytes, test: bytes, order: int) -> float:
    """Bits a byte of `test`, each foretold from the `order - 1` bytes before it by what followed
    them in `train`: interpolated Kneser-Ney with three discounts (Chen and Goodman 1999).

    >>> kneser_ney(bytes(range(256)), b"abc", 1)
    8.0
    """
    learnt, judged = _runs(train, order), _runs(train[-(order - 1) :] * (order > 1) + test, order)
    levels = []
    runs, counts = np.unique(learnt, return_counts=True)
    for k in range(order, 0, -1):
        levels.append((k, runs, counts))
        # Of shorter runs not how often they came is counted, but after how many other bytes.
        runs, counts = np.unique(runs & _low(k - 1), return_counts=True)
    probability = np.full(len(judged), 1 / 256)
    for k, runs, counts in reversed(levels):
        probability = _interpolated(judged & _low(k), runs, counts, probability)
    return float(-np.log2(probability).mean())


def xz(train: bytes, test: bytes) -> float:
    """Bits a byte that `test` adds to `train`, both packed as one by LZMA at its best."""
    pack = {"format": lzma.FORMAT_ALONE, "preset": 9 | lzma.PRESET_EXTREME}
    more = len(lzma.compress(train + test, **pack)) - len(lzma.compress(train, **pack))  # type: ignore[arg-type]
    return 8 * more / len(test)


def _low(k: int) -> np.uint64:
    """What keeps the last k bytes of a key."""
    return np.uint64(256**k - 1)


def _runs(text: bytes, order: int) -> Keys:
    """All runs of `order` bytes, the last byte lowest."""
    symbols = np.frombuffer(text, np.uint8).astype(np.uint64)
    keys: Keys = np.zeros(len(symbols) - order + 1, np.uint64)
    for k in range(order):
        keys = (keys << np.uint64(8)) | symbols[k : k + len(keys)]
    return keys


def _interpolated(asked: Keys, runs: Keys, counts: NDArray[Any], lower: Any) -> NDArray[Any]:
    """The probability of the last byte of each key after the others, by one length of runs and by
    the probability that shorter ones gave."""
    discounts = _discounts(counts)
    contexts, starts = np.unique(runs >> np.uint64(8), return_index=True)
    totals = np.add.reduceat(counts, starts)
    spared = np.add.reduceat(discounts[np.minimum(counts, 3)], starts)
    at, known = _found(contexts, asked >> np.uint64(8))
    place, seen = _found(runs, asked)
    count = np.where(seen, counts[place], 0)
    direct = (count - discounts[np.minimum(count, 3)]) / totals[at]
    return np.asarray(np.where(known, direct + spared[at] / totals[at] * lower, lower))


def _discounts(counts: NDArray[Any]) -> NDArray[np.float64]:
    """What is taken from counts of 0, 1, 2 and more, so that as much is left for what never came as
    came once; something always is."""
    n = [max(1, int(np.count_nonzero(counts == times))) for times in range(1, 5)]
    y = n[0] / (n[0] + 2 * n[1])
    taken = (i + 1 - (i + 2) * y * n[i + 1] / n[i] for i in range(3))
    return np.array([0.0, *(max(_LEAST, amount) for amount in taken)])


def _found(sorted_keys: Keys, asked: Keys) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where each key stands, and whether it does."""
    at = np.minimum(sorted_keys.searchsorted(asked), len(sorted_keys) - 1)
    return at, sorted_keys[at] == asked
