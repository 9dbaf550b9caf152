"""An LSTM as a language model, on the World English Bible."""

from __future__ import annotations

import dataclasses
from typing import Any

from tilework.data import Text
from tilework.train.recipe import Optimisation
from tilework.train.recipes import _text, gpt

_WIDTH, _HIDDEN = 128, 256


def network(file: Any, text: Text) -> Any:
    return file.LSTMLanguageModel(_text.VOCABULARY, _WIDTH, _HIDDEN)


RECIPE = dataclasses.replace(
    gpt.RECIPE,
    title="LSTM of 256 on the World English Bible",
    file="lstm_lm",
    network=network,
    optimisation=Optimisation(kind="adamw", lr=5e-3, weight_decay=0.01, one_cycle=True),
    batch_size=16,
    parameters=(
        _WIDTH * _text.VOCABULARY  # the embedding, which is the head's weight too
        + 4 * _HIDDEN * (_WIDTH + _HIDDEN + 2)
        + (_HIDDEN + 1) * _WIDTH
        + _text.VOCABULARY
    ),
)
