"""Strange arguments: every public call succeeds, or refuses in the one form."""

import inspect
import warnings

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing import calls, strange

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")


def test_every_public_name_has_a_call():
    assert set(calls.FUNCTIONS) == set(F.__all__)
    methods = {n for n, f in vars(tw.Tensor).items() if n[0] != "_" and inspect.isfunction(f)}
    assert set(calls.METHODS) | calls.UNBENT == methods
    layers = {n for n in nn.__all__ if inspect.isclass(v := getattr(nn, n))
              and issubclass(v, nn.Module)}  # fmt: skip
    assert set(calls.LAYERS) | calls.HOLDERS == layers


@pytest.mark.parametrize("name", [name for name, _ in strange.ALL])
def test_the_calls_run(name):
    call = dict(strange.ALL)[name]
    for seed in range(4):
        args, options = strange._arguments(call, np.random.default_rng(seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            strange._run(name, call, args, options)


def test_strange_calls():
    found = [str(fault) for fault in strange.faults(80_000, seed=1)]
    assert not found, "\n".join(found[:20])


@pytest.mark.full
def test_many_strange_calls():
    found = [str(fault) for fault in strange.faults(1_000_000, seed=2)]
    assert not found, "\n".join(found[:20])
