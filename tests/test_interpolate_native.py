"""Interpolation by the compiled engine: large outputs, and several threads."""

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "interpolate"  # whose variants the fixture `isa` goes over


def channels_last(*shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def tables(size, count, linear):
    """As functional's, with the outermost elements in their places."""
    low, rest = np.divmod(np.arange(count) * (size - 1), count - 1)
    index = np.stack([low, np.minimum(low + 1, size - 1)], 1)
    return index, rest / (count - 1) if linear else None


@pytest.mark.parametrize("linear", [True, False], ids=["bilinear", "nearest"])
def test_large_outputs_go_around_the_cache(isa, linear):
    """4 MiB and more in pixels of whole cache lines; each image by itself is less."""
    x = channels_last(2, 64, 60, 50)
    how = (*tables(60, 121, linear), *tables(50, 101, linear))
    y = native.interpolate_forward(x, *how)
    assert y.nbytes >= 4 << 20 > y[0].nbytes
    for i in range(2):
        np.testing.assert_array_equal(y[i : i + 1], native.interpolate_forward(x[i : i + 1], *how))


@pytest.mark.parametrize("channels", [3, 16, 33])
def test_threads_do_not_change_a_bit(isa, channels):
    x, how = channels_last(3, channels, 40, 50), (*tables(40, 77, True), *tables(50, 33, True))
    runs = []
    try:
        for threads in (1, 2, 5):
            native.set_num_threads(threads)
            y = native.interpolate_forward(x, *how)
            runs.append((y, native.interpolate_backward(y, *how, 40, 50, True)))
    finally:
        native.set_num_threads(1)
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0], strict=True))
