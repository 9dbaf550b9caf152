"""Random tensors and dropout on the simulated device: the CPU's numbers, to the bit."""

import numpy as np
import pytest

from tilework import engines
from tilework.testing import simulated
from tilework.testing.inputs import LAYOUTS, laid_out, normal
from tilework.testing.tolerance import eps

from .device_arrays import here, there

if simulated.refusal():
    pytest.skip(simulated.refusal(), allow_module_level=True)
native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")
cuda = engines.engine_module("cuda")

DTYPES = ["float32", "float64"]
# Around a counter's words and a block's threads.
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 511, 512, 513, 1023, 1025, 4099]
KEYS = [(0, 0), (0x9E3779B97F4A7C15, (1 << 40) + 3), (2**64 - 1, 2**63)]


@pytest.fixture(autouse=True, params=simulated.ORDERS)
def device(request):
    with simulated.device(order=request.param, seed=5) as made:
        yield made


@pytest.mark.parametrize("n", LENGTHS)
def test_words_and_uniforms_are_the_cpus(n):
    for key in KEYS:
        np.testing.assert_array_equal(
            here(cuda.random_bits((n,), *key)), native.random_bits((n,), *key)
        )
        for dtype in DTYPES:
            found = here(cuda.uniform((n,), dtype, *key))
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, native.uniform((n,), dtype, *key))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", LENGTHS)
def test_normals_are_within_two_ulps(n, dtype):
    for key in KEYS:
        found, expected = here(cuda.normal((n,), dtype, *key)), native.normal((n,), dtype, *key)
        assert found.dtype == dtype
        assert np.all(np.abs(found - expected) <= 2 * eps(dtype) * np.abs(expected))


def test_shapes_of_several_axes():
    found = here(cuda.normal((3, 0, 2), "float32", 1, 2))
    assert found.shape == (3, 0, 2)
    found = here(cuda.random_bits((3, 5, 2), 1, 2))
    np.testing.assert_array_equal(found, native.random_bits((3, 5, 2), 1, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", LENGTHS)
def test_dropout_keeps_what_the_cpu_keeps(n, dtype):
    x = normal(np.random.default_rng(0), dtype, n)
    for how in ("contiguous", "misaligned"):
        given = laid_out(x, how)
        for p in (0.0, 0.1, 0.5, 1.0):
            for key in KEYS:
                y = native.dropout_forward(given, p, *key)
                found = here(cuda.dropout_forward(there(given), p, *key))
                np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(here(cuda.dropout_backward(there(x), 0.3, 1, 2)),
                                  native.dropout_backward(x, 0.3, 1, 2))  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_goes_by_the_place_in_memory(layout):
    x = laid_out(normal(np.random.default_rng(1), "float32", 3, 5, 4, 8), layout)
    y, found = (
        native.dropout_forward(x, 0.5, 3, 4),
        here(cuda.dropout_forward(there(x), 0.5, 3, 4)),
    )
    np.testing.assert_array_equal(found, y)
    assert found.strides == y.strides


def test_dropout_keeps_the_word_that_is_the_threshold():
    word = int(native.random_bits((4,), 3, 5)[2])
    x = there(np.ones(4, np.float32))
    assert here(cuda.dropout_forward(x, word / 2**32, 3, 5))[2] > 0
    assert here(cuda.dropout_forward(x, (word + 1) / 2**32, 3, 5))[2] == 0


def test_what_is_dropped_is_zero_and_nan_too():
    x = np.full(64, np.nan, np.float32)
    found = here(cuda.dropout_forward(there(x), 0.5, 1, 2))
    np.testing.assert_array_equal(found, native.dropout_forward(x, 0.5, 1, 2))
    assert (found == 0).any()
