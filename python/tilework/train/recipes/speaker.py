"""Who says a Japanese vowel: a bidirectional LSTM over utterances of differing length."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data import DataLoader, TensorDataset, Utterances
from tilework.metrics import Accuracy
from tilework.train.recipe import Baseline, Batches, Optimisation, Recipe


def network(file: Any, said: Utterances) -> Any:
    return file.SpeakerLSTM(said.train[0].shape[1], len(said.classes), 64, dropout=0.5)


def batches(said: Utterances, batch_size: int) -> Batches:
    """Frames, standard over the training part, padded at the end, and the utterances' lengths."""
    frames = np.concatenate(said.train)
    mean, deviation = frames.mean(0), frames.std(0)

    def padded(utterances: tuple[NDArray[np.float32], ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        lengths = np.array([len(x) for x in utterances])
        whole = np.zeros((len(utterances), lengths.max(), frames.shape[1]), np.float32)
        for row, x in zip(whole, utterances, strict=True):
            row[: len(x)] = (x - mean) / deviation
        return whole, lengths

    train = TensorDataset(*padded(said.train), said.train_speakers)
    held_out = TensorDataset(*padded(said.test), said.test_speakers)
    return Batches(DataLoader(train, batch_size, shuffle=True), DataLoader(held_out, 100))


def few(said: Utterances, count: int) -> Utterances:
    """As many utterances of both parts, of all speakers."""
    train, test = (
        np.linspace(0, len(part) - 1, min(count, len(part))).astype(int)
        for part in (said.train, said.test)
    )
    return dataclasses.replace(
        said,
        train=tuple(said.train[i] for i in train), train_speakers=said.train_speakers[train],
        test=tuple(said.test[i] for i in test), test_speakers=said.test_speakers[test],
    )  # fmt: skip


def nearest(said: Utterances) -> Baseline:
    """The speaker of the training utterance whose mean frame is nearest."""
    known, asked = (np.stack([x.mean(0) for x in part]) for part in (said.train, said.test))
    distances = (((asked[:, None] - known) / known.std(0)) ** 2).sum(-1)
    found = said.train_speakers[distances.argmin(1)]
    return Baseline("the nearest mean frame", float(np.mean(found == said.test_speakers)))


RECIPE = Recipe(
    title="bidirectional LSTM on Japanese vowels: who speaks",
    file="speaker",
    data="japanese-vowels",
    network=network,
    batches=batches,
    few=few,
    optimisation=Optimisation(kind="adam", lr=1e-2, one_cycle=True),
    batch_size=30,
    epochs=60,
    metrics=lambda: [Accuracy()],
    goal=0.95,
    baseline=nearest,
    parameters=2 * 4 * 64 * (12 + 64 + 2) + 2 * 64 * 9 + 9,
)
