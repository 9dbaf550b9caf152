"""What recipes of series and of text are made of: forecasts, counts, tokens and windows."""

import dataclasses
import json
import math
import random
from collections import Counter

import numpy as np
import pytest

from tilework import data
from tilework.cli import main
from tilework.train import recipe as running
from tilework.train import recipes
from tilework.train.recipes import _ngram, _series, _text


def series(length=160):
    times = np.arange(length)
    values = (0.1 * times + np.sin(2 * np.pi * times / 12)).astype(np.float32)
    return data.Series("waves", "m", times / 12, values, 12, length - 40)


def test_forecasts_are_ranked_by_their_error():
    """A line with a wave on it: the drift is without error, a season ago off by what it gained."""
    ways = {"naive": _series.naive, "seasonal": _series.seasonal, "drift": _series.drift}
    found = _series.best_of(24, 6, **ways)(series())
    assert found.name.startswith("drift; ")
    assert "seasonal 1.2" in found.name
    assert found.value == pytest.approx(0.0, abs=1e-5)


def test_a_forecast_is_learnt_and_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib, which draws it, is not installed")
    recipe = dataclasses.replace(recipes.get("co2"), epochs=2)
    outcome = running.run(recipe, series(300))
    assert np.isfinite(outcome.value)
    recipe.picture(outcome, series(300), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


# --- counting bytes ---


def test_counts_are_probabilities(monkeypatch):
    """After any bytes, those of all that may follow sum to one."""
    rng = random.Random(0)
    train = bytes(rng.choice(b"abcde ") for _ in range(500))
    found = []
    mean = np.log2
    monkeypatch.setattr(_ngram.np, "log2", lambda p: found.append(p) or mean(p))
    for context in (b"abc", b"zzz", b"e z", train[7:10]):
        found.clear()
        for byte in range(256):
            _ngram.kneser_ney(train, context + bytes([byte]), 4)
        assert sum(p[-1] for p in found) == pytest.approx(1.0, rel=1e-12)


def by_dicts(train, context, byte, counts=None, order=3):
    """The probability of a byte, one dict a length of run."""
    if not order:
        return 1 / 256
    counts = counts or Counter(train[i : i + order] for i in range(len(train) - order + 1))
    lower = by_dicts(train, context[1:], byte, Counter(run[1:] for run in counts), order - 1)
    n = [0, *(max(1, sum(c == k for c in counts.values())) for k in (1, 2, 3, 4))]
    y = n[1] / (n[1] + 2 * n[2])
    d = [0.0, *(max(0.1, k - (k + 1) * y * n[k + 1] / n[k]) for k in (1, 2, 3))]
    known = {run[-1:]: c for run, c in counts.items() if run[:-1] == context}
    if not known:
        return lower
    count, total = known.get(byte, 0), sum(known.values())
    spared = sum(d[min(c, 3)] for c in known.values())
    return (count - d[min(count, 3)]) / total + spared / total * lower


def test_counts_are_by_the_formula():
    rng = random.Random(2)
    train = bytes(rng.choices(b"abcd", (8, 4, 2, 1), k=300))
    test = bytes(rng.choices(b"abcde", (8, 4, 2, 1, 1), k=60))
    row = train[-2:] + test
    bits = [-math.log2(by_dicts(train, row[i - 2 : i], row[i : i + 1])) for i in range(2, len(row))]
    found = _ngram.kneser_ney(train, test, 3)
    assert found == pytest.approx(sum(bits) / len(bits), rel=1e-12)


def test_longer_contexts_foretell_better_and_xz_finds_repeats():
    text = b"the quick brown fox jumps over the lazy dog. " * 40
    bits = [_ngram.kneser_ney(text, text[:450], order) for order in (1, 2, 4, 8)]
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 0.2
    assert _ngram.xz(text, text[:450]) < 0.5
    noise = random.Random(1).randbytes(2000)
    assert 7.9 < _ngram.xz(text, noise) < 8.6


# --- tokens and windows ---


def test_each_token_is_judged_once_and_has_context():
    train, test = np.arange(1000, 1200), np.arange(2000, 2333)
    given, asked = _text.judged(train, test)
    kept = asked >= 0
    np.testing.assert_array_equal(asked[kept], test)
    half = _text.LENGTH // 2
    assert not kept[:, :half].any()
    row = np.concatenate([train[-half - 1 :], test])
    for i, (window, targets) in enumerate(zip(given, asked, strict=True)):
        known = row[i * half :][: _text.LENGTH]
        np.testing.assert_array_equal(window[: len(known)], known)
        follows = row[i * half + 1 :][: _text.LENGTH]
        real = targets[: len(follows)] >= 0
        np.testing.assert_array_equal(targets[: len(follows)][real], follows[real])


WORDS = ["the", "king", "and", "his", "people", "went", "up", "from", "that", "city", "to", "see"]


@pytest.fixture
def text():
    pytest.importorskip("tokenizers", reason="tokenizers, which makes the tokens, is missing")
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=12)) + "." for _ in range(300)]
    return data.Text("words", "\n".join(lines[:250]), "\n".join(lines[250:]))


def test_batches_of_text(text):
    known = _text.tokenizer(text)
    train, test = _text.tokens(text)
    assert known.decode(train.tolist()) == text.train
    batches = _text.batches(text, 3)
    (bits,) = batches.metrics
    assert bits.bytes_per_token == len(text.test) / len(test)
    for given, asked in batches.train:
        assert given.shape[1:] == asked.shape[1:] == (_text.LENGTH,)
        np.testing.assert_array_equal(given.numpy()[:, 1:], asked.numpy()[:, :-1])


@pytest.mark.parametrize("name", ["gpt", "lstm-lm"])
def test_a_language_model_is_learnt_and_writes(text, name):
    recipe = dataclasses.replace(recipes.get(name), epochs=6)
    outcome = running.run(recipe, text)
    assert outcome.value < 4.0
    assert outcome.baseline.value < outcome.value + 4.0
    written = recipe.sample(outcome, text)
    assert written.count("\n\n") == 2
    assert written.startswith("In the beginning")


def test_a_sample_lies_beside_the_weights(text, tmp_path, monkeypatch):
    monkeypatch.setitem(data.SOURCES, "world-english-bible", lambda: text)
    output = tmp_path / "w.safetensors"
    assert main(["train", "gpt", "--epochs", "1", "--output", str(output)]) == 0
    assert "The king said to" in output.with_suffix(".txt").read_text(encoding="utf-8")
    assert json.loads(output.with_suffix(".json").read_text())["figure"] == "bits_per_byte"
