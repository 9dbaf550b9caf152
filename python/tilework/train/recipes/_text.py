"""What recipes of language models share."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework import functional as F
from tilework.data import DataLoader, TensorDataset, Text, TransformedDataset
from tilework.metrics import BitsPerByte
from tilework.models import generate
from tilework.models.gguf import package
from tilework.tensor import Tensor
from tilework.train.recipe import Baseline, Batches, Outcome
from tilework.train.recipes._ngram import kneser_ney, xz

VOCABULARY, LENGTH = 2048, 128  # tokens
_SEEN = LENGTH // 2  # tokens before the first that is judged in a window
_IGNORED = -100  # of targets: F.cross_entropy's and BitsPerByte's
_LONGEST = 8  # bytes that the baseline counts
_WINDOWS = 8  # that are judged at once
_OPENINGS = ("In the beginning", "The king said to", "Blessed are")

Ids = NDArray[np.int64]


@functools.lru_cache(maxsize=2)
def tokenizer(text: Text) -> Any:
    """Pairs of bytes merged by how often they stand together in the part that is learnt from
    (Sennrich et al. 2016). ImportError without the package tokenizers."""
    tokenizers = package("tokenizers", "text")
    level = tokenizers.pre_tokenizers.ByteLevel
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = level(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=level.alphabet(), show_progress=False
    )
    made.train_from_iterator(text.train.split("\n"), trainer)
    return made


@functools.lru_cache(maxsize=2)
def tokens(text: Text) -> tuple[Ids, Ids]:
    """The tokens to learn from, and those to judge by."""
    found = tokenizer(text).encode_batch([text.train, text.test])
    train, test = (np.array(part.ids, np.int64) for part in found)
    return train, test


def batches(text: Text, batch_size: int) -> Batches:
    """Windows of tokens, each batch cut at another place, and the tokens after each."""
    train, test = tokens(text)
    wide = np.lib.stride_tricks.sliding_window_view(train, 2 * LENGTH)[::LENGTH]

    def cut(windows: Tensor) -> tuple[Tensor, Tensor]:
        start = int(F.randint(0, LENGTH, (1,)).item())
        return windows[:, start : start + LENGTH], windows[:, start + 1 : start + LENGTH + 1]

    learnt = TransformedDataset(TensorDataset(wide), cut)
    return Batches(
        DataLoader(learnt, batch_size, shuffle=True),
        DataLoader(TensorDataset(*judged(train, test)), _WINDOWS),
        [BitsPerByte(len(text.test.encode()) / len(test))],
    )


def judged(train: Ids, test: Ids) -> tuple[Ids, Ids]:
    """Windows (N, LENGTH) and targets in which each token of `test` stands once, with at least half
    a window of what lies before it; the other targets are ignored."""
    count = -(-len(test) // _SEEN)
    row = np.concatenate([train[-_SEEN - 1 :], test])
    row = np.pad(row, (0, count * _SEEN + _SEEN + 1 - len(row)), constant_values=_IGNORED)
    windows = np.lib.stride_tricks.sliding_window_view(row, LENGTH + 1)[::_SEEN]
    targets = windows[:, 1:].copy()
    targets[:, :_SEEN] = _IGNORED
    return np.maximum(windows[:, :-1], 0), targets


def loss(functional: Any, scores: Any, targets: Any) -> Any:
    """The mean cross entropy of scores (N, S, V) and tokens (N, S)."""
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def few(text: Text, count: int) -> Text:
    """The beginning of both parts: so many lines of a hundred characters to learn from."""
    size = 100 * count
    return Text(text.name, text.train[:size], text.test[: size // 4])


def counting(text: Text) -> Baseline:
    """Counts of up to eight bytes; what xz makes of it stands beside their name."""
    train, test = text.train.encode(), text.test.encode()
    name = f"Kneser-Ney counts of {_LONGEST} bytes; xz {xz(train, test):.4g}"
    return Baseline(name, kneser_ney(train, test, _LONGEST))


def sample(outcome: Outcome, text: Text) -> str:
    """How the model goes on: drawn, from a few openings."""
    known = tokenizer(text)
    model = outcome.model.eval()
    written = []
    for opening in _OPENINGS:
        ids = F.tensor([known.encode(opening).ids])
        new = LENGTH - ids.shape[1]
        drawn = generate(
            model, ids, max_new_tokens=new, do_sample=True, temperature=0.8, top_p=0.95
        )
        written.append(known.decode(drawn[0].tolist()))
    return "\n\n".join(written) + "\n"
