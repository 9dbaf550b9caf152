"""The cupy engine over NumPy's arrays beside the compiled one, on random calls."""

import pytest

pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

from tilework.engines import cupy as arrays

from .engine_calls import NAMES, TIED, check, flat, plain

DRAWN = 8


def run(name, call):
    given = plain(arrays, call)
    return flat(getattr(arrays, name)(**given)), given


@pytest.mark.parametrize("name", NAMES)
def test_random_calls_give_what_the_kernels_give(name):
    for seed in range(DRAWN):
        check(name, seed, lambda call: run(name, call))


@pytest.mark.parametrize("name", TIED)
def test_of_equals_and_of_nans_the_same_is_chosen(name):
    for seed in range(DRAWN):
        check(name, seed, lambda call: run(name, call), tied=True)
