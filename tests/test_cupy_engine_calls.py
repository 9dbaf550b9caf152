"""The cupy engine over NumPy's arrays beside the compiled one, on random calls."""

import pytest

pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

from tilework.engines import cupy as arrays

from .engine_calls import NAMES, check, flat, plain

DRAWN = 8


@pytest.mark.parametrize("name", NAMES)
def test_random_calls_give_what_the_kernels_give(name):
    def run(call):
        given = plain(arrays, call)
        return flat(getattr(arrays, name)(**given)), given

    for seed in range(DRAWN):
        check(name, seed, run)
