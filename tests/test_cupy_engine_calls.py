"""The cupy engine beside the compiled one: the same valid calls, drawn at random, of every function
of the contract, give the same shapes, dtypes, layouts and numbers."""

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

from tilework.dtypes import is_float  # noqa: E402
from tilework.engines import CONTRACT  # noqa: E402
from tilework.engines import cupy as arrays  # noqa: E402
from tilework.testing.call_parts import Given, Packed  # noqa: E402
from tilework.testing.native_calls import CALLS  # noqa: E402
from tilework.testing.tolerance import assert_close, eps, growth  # noqa: E402

DRAWN = 8
LONGEST = 64  # no sum of these calls is longer
OPAQUE = {"cross_entropy_forward", "ctc_forward"}  # the second result is the engine's own
LEFT_OUT = {
    "ctc_backward": "reads what the engine itself has saved",
    "pool_max_backward": "reads places in windows, of which some are drawn that lie outside",
}
LAYOUT_ITS_OWN = {"conv_backward"}  # dense, of the engine's choice
NAMES = [
    name for name in CALLS if name in set(CONTRACT) - set(LEFT_OUT) and not name.startswith("pack")
]


def plain(engine, call):
    """The call's arguments for an engine: arrays that are its own, weights packed by it."""

    def own(value):
        if isinstance(value, list):
            return [own(part) for part in value]
        return value.values.copy("K") if isinstance(value, Given) else value

    copied = {name: own(value) for name, value in call.items()}
    for name, value in copied.items():
        if isinstance(value, Packed):
            copied[name] = getattr(engine, value.function)(copied[value.of])
    return copied


def flat(value):
    if isinstance(value, (tuple, list)):
        return [x for part in value for x in flat(part)]
    return [value]


def steps(x):
    return [s for s, n in zip(x.strides, x.shape, strict=True) if n != 1 and x.size]


def compare(ours, theirs, label, layout):
    assert type(ours) is type(theirs), label
    if not isinstance(ours, np.ndarray):
        assert ours == theirs or abs(ours - theirs) <= 1e3 * eps("float64") * abs(theirs), label
        return
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), label
    if layout:
        assert steps(ours) == steps(theirs), label
    if not is_float(ours.dtype):
        np.testing.assert_array_equal(ours, theirs, label)
        return
    size = 1.0 + float(np.abs(theirs.astype("f8")).max(initial=0.0, where=np.isfinite(theirs)))
    assert_close(ours, theirs, (8.0 + growth(LONGEST)) * eps(ours.dtype.name) * size, label)


@pytest.mark.parametrize("name", NAMES)
def test_random_calls_give_what_the_kernels_give(name):
    for seed in range(DRAWN):
        call = CALLS[name](np.random.default_rng(seed))
        found, given = [], []
        for engine in (arrays, native):
            given.append(plain(engine, call))
            found.append(flat(getattr(engine, name)(**given[-1])))
        ours, theirs = found
        if name in OPAQUE:
            ours, theirs = ours[:1], theirs[:1]
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            compare(*pair, f"{name}, result {i} of call {seed}", name not in LAYOUT_ITS_OWN)
        for argument, value in given[0].items():  # what a call writes to, and what it must not
            if isinstance(value, (np.ndarray, list)):
                for pair in zip(flat(value), flat(given[1][argument]), strict=True):
                    compare(*pair, f"{name}, {argument} after call {seed}", True)
