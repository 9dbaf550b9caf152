"""The compiled reductions: every ISA variant, length, axis set and layout, against float64."""

import itertools

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "reduce"  # whose variants the fixture `isa` goes over
DTYPES = [np.float32, np.float64]


def check_sum(actual, x, axes, keepdims=False):
    """Chains of 32 additions in a tree: log2(n) + 32 halves of an eps of the sum of |x|."""
    exact = np.sum(x.astype(np.longdouble), axis=axes, keepdims=keepdims)
    magnitude = np.sum(np.abs(x.astype(np.longdouble)), axis=axes, keepdims=keepdims)
    depth = 32 + np.log2(max(x.size, 2))
    assert actual.dtype == x.dtype
    assert actual.shape == exact.shape
    assert np.all(np.abs(actual - exact) <= depth / 2 * np.finfo(x.dtype).eps * magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tail(isa, dtype):
    rng = np.random.default_rng(0)
    buffer = rng.standard_normal((3, 200)).astype(dtype)
    for n in [*range(1, 150)]:
        x = np.ascontiguousarray(buffer[:, 1 : n + 1])
        check_sum(native.sum(x, (1,), False), x, (1,))
        for name in ("max", "min"):
            expected = getattr(np, name)(x, axis=1)
            np.testing.assert_array_equal(getattr(native, name)(x, (1,), False), expected)
            columns = np.ascontiguousarray(x.T)
            np.testing.assert_array_equal(getattr(native, name)(columns, (0,), False), expected)
        check_sum(native.sum(np.ascontiguousarray(x.T), (0,), False), x.T, (0,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [a for k in range(5) for a in itertools.combinations(range(4), k)])
def test_every_set_of_axes_and_layout(isa, dtype, axes):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 5, 1, 19)).astype(dtype)
    for order in [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2), (2, 3, 1, 0)]:
        turned = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        for source in (turned, np.repeat(turned, 2, axis=3)[..., ::2], turned[::-1]):
            for keepdims in (False, True):
                check_sum(native.sum(source, axes, keepdims), source, axes, keepdims)
                expected = np.max(source, axis=axes, keepdims=keepdims)
                np.testing.assert_array_equal(native.max(source, axes, keepdims), expected)
        count = np.prod([x.shape[i] for i in axes], dtype=int)
        np.testing.assert_array_equal(
            native.mean(turned, axes, False), native.sum(turned, axes, False) / dtype(count)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(70001,), (3, 40000), (5000, 33), (300, 7, 300), (2, 1000, 6)])
def test_long_axes_hold_their_error_and_ignore_threads(isa, dtype, shape):
    x = np.random.default_rng(2).random(shape).astype(dtype)
    threads = native.num_threads()
    try:
        for axis in range(len(shape)):
            results = []
            for n in (1, 2, 3):
                native.set_num_threads(n)
                results.append(native.sum(x, (axis,), False))
            check_sum(results[0], x, (axis,))
            assert all(np.array_equal(results[0], other) for other in results[1:])
    finally:
        native.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity(isa, dtype):
    for n in (1, 7, 40, 300):
        for where in {0, n // 2, n - 1}:
            x = np.random.default_rng(3).standard_normal((2, n)).astype(dtype)
            x[1, where] = np.nan
            for name in ("sum", "mean", "max", "min"):
                for axis, source in ((1, x), (0, np.ascontiguousarray(x.T))):
                    got = getattr(native, name)(source, (axis,), False)
                    assert np.isnan(got[1])
                    assert np.isfinite(got[0])
            x[1, where] = -np.inf
            assert native.min(x, (1,), False)[1] == -np.inf
            assert native.sum(x, (1,), False)[1] == -np.inf


def test_nothing_to_reduce():
    empty = np.zeros((3, 0), np.float32)
    np.testing.assert_array_equal(native.sum(empty, (1,), False), np.zeros(3))
    assert np.isnan(native.mean(empty, (1,), False)).all()
    assert native.sum(empty, (0,), True).shape == (1, 0)
    with pytest.raises(ValueError, match=r"^\[max\] expected at least one element"):
        native.max(empty, (1,), False)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    same = native.sum(x, (), False)
    assert np.array_equal(same, x)
    assert not np.shares_memory(same, x)


def test_sum_to_shape():
    x = np.random.default_rng(4).standard_normal((4, 3, 1, 5)).astype(np.float32)
    for shape in [(5,), (1, 5), (3, 1, 1), (1, 1, 1), (), (4, 3, 1, 5), (4, 1, 1, 5), (1,)]:
        model = np.broadcast_to(np.zeros(shape), x.shape)
        axes = tuple(i for i in range(4) if model.strides[i] == 0)
        got = native.sum_to_shape(x, shape)
        assert got.shape == shape
        check_sum(got.reshape(np.sum(x, axis=axes).shape), x, axes)
    with pytest.raises(ValueError, match=r"^\[sum_to_shape\] expected a shape that broadcasts"):
        native.sum_to_shape(x, (2, 5))


def test_bad_axes_are_refused():
    x = np.zeros((2, 3), np.float32)
    for axes in [(2,), (-1,), (0, 0)]:
        with pytest.raises(ValueError, match=r"^\[sum\] expected axes that differ"):
            native.sum(x, axes, False)
    with pytest.raises(TypeError, match=r"^\[sum\] expected `x` of dtype float32 or float64"):
        native.sum(np.zeros(3, np.int64), (0,), False)
