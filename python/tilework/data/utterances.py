"""Utterances of several speakers, of differing length."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilework.data.sources import installed, majority_accuracy
from tilework.errors import error


@dataclass(frozen=True)
class Utterances:
    """Features of what was said, and who said it: a part to learn from and a part to judge by.

    An utterance is float32 (T, D), of a T of its own; speakers are int64 (N,).
    """

    name: str
    train: tuple[NDArray[np.float32], ...]
    train_speakers: NDArray[np.int64]
    test: tuple[NDArray[np.float32], ...]
    test_speakers: NDArray[np.int64]
    classes: tuple[str, ...]

    def majority_accuracy(self) -> float:
        """The test accuracy of always naming the speaker most frequent in the training part."""
        return majority_accuracy(self.train_speakers, self.test_speakers)


def japanese_vowels() -> Utterances:
    """Nine men saying two Japanese vowels: 270 utterances to learn from and 370 to judge by, 7 to
    29 frames of 12 cepstral coefficients each (Kudo, Toyama and Shimbo 1999; UCI, CC BY 4.0).

    From the package aeon, which is looked up, not imported. FileNotFoundError where it is not
    installed.
    """
    folder = installed("japanese_vowels", "aeon") / "datasets/data/JapaneseVowels"
    train, train_names = read_ts(folder / "JapaneseVowels_TRAIN.ts")
    test, test_names = read_ts(folder / "JapaneseVowels_TEST.ts")
    classes = sorted(set(train_names))
    return Utterances(
        "japanese-vowels", train, np.array([classes.index(name) for name in train_names]),
        test, np.array([classes.index(name) for name in test_names]), tuple(classes),
    )  # fmt: skip


def read_ts(
    path: str | os.PathLike[str],
) -> tuple[tuple[NDArray[np.float32], ...], tuple[str, ...]]:
    """Series (T, D) of the .ts format of time series archives, and their labels.

    Behind `@data` a line is a series: dimensions divided by colons, each its numbers divided by
    commas, and the label last. ValueError where a line is anything else.

    >>> file = getfixture("tmp_path") / "two.ts"
    >>> _ = file.write_text("@dimensions 2\\n@data\\n1,2,3:4,5,6:a\\n7:8:b\\n")
    >>> series, labels = read_ts(file)
    >>> [x.shape for x in series], labels
    ([(3, 2), (1, 2)], ('a', 'b'))
    """
    lines = Path(path).read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip().lower() == "@data"]
    if not starts:
        raise error(ValueError, "read_ts", "a line @data", f"none in {path}", "give a .ts file")
    series, labels = [], []
    for line in filter(str.strip, lines[starts[0] + 1 :]):
        *dimensions, label = line.strip().split(":")
        try:
            rows = [[float(x) for x in dimension.split(",")] for dimension in dimensions]
            series.append(np.array(rows, np.float32).T)
        except ValueError as reason:
            raise error(
                ValueError, "read_ts", "dimensions of equal length, and numbers", str(reason),
                f"mend the line {line[:40]!r} of {path}",
            ) from reason  # fmt: skip
        if series[-1].ndim != 2:
            raise error(
                ValueError, "read_ts", "a label behind the last colon", repr(line[:40]),
                f"mend {path}",
            )  # fmt: skip
        labels.append(label)
    return tuple(series), tuple(labels)
