"""Random valid calls of every function of the contract, for an engine beside the compiled one: the
same shapes, dtypes, layouts and numbers come of them."""

import numpy as np

from tilework import _native as native
from tilework.dtypes import is_float
from tilework.engines import CONTRACT
from tilework.testing.call_parts import Given, Packed
from tilework.testing.native_calls import CALLS
from tilework.testing.tolerance import assert_close, eps, growth

LONGEST = 64  # no sum of these calls is longer
OPAQUE = {"cross_entropy_forward", "ctc_forward"}  # the second result is the engine's own
LEFT_OUT = {
    "ctc_backward": "reads what the engine itself has saved",
    "pool_max_backward": "reads places in windows, of which some are drawn that lie outside",
}
LAYOUT_ITS_OWN = {"conv_backward"}  # dense, of the engine's choice
TIED = (  # choose one of equals
    "sort", "topk", "max", "min", "scatter_reduce", "segment_max", "embedding_bag_forward",
    "pool_max_forward", "clamp_forward",
)  # fmt: skip
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
    if isinstance(theirs, float):  # of a device an array without axes, which nobody waited for
        ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert type(ours) is type(theirs), label
    if ours is None:
        return
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), label
    if layout:
        assert steps(ours) == steps(theirs), label
    if not is_float(ours.dtype):
        np.testing.assert_array_equal(ours, theirs, label)
        return
    size = 1.0 + float(np.abs(theirs.astype("f8")).max(initial=0.0, where=np.isfinite(theirs)))
    assert_close(ours, theirs, (8.0 + growth(LONGEST)) * eps(ours.dtype.name) * size, label)


def tie(call, rng):
    """Leaves few numbers in arrays of floats, and NaN among them."""
    for value in call.values():
        if isinstance(value, Given) and is_float(value.values.dtype) and value.values.ndim:
            x = value.values
            x[...] = rng.choice([0.0, 1.0, 2.0, np.nan], x.shape, p=[0.3, 0.3, 0.3, 0.1])


def check(name, seed, run, tied=False):
    """`run(call)` gives the results of an engine and its arguments afterwards."""
    rng = np.random.default_rng(seed)
    call = CALLS[name](rng)
    if tied:
        tie(call, rng)
    ours, given = run(call)
    beside = plain(native, call)
    theirs = flat(getattr(native, name)(**beside))
    if name in OPAQUE:
        ours, theirs = ours[:1], theirs[:1]
    for i, pair in enumerate(zip(ours, theirs, strict=True)):
        compare(*pair, f"{name}, result {i} of call {seed}", name not in LAYOUT_ITS_OWN)
    for argument, value in given.items():  # what a call writes to, and what it must not
        for pair in zip(flat(value), flat(beside[argument]), strict=True):
            if isinstance(pair[0], np.ndarray):
                compare(*pair, f"{name}, {argument} after call {seed}", True)
