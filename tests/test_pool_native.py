"""Pooling of the compiled engine: every ISA variant, against windows taken one by one."""

import itertools

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

from tilework.functional.windows import adaptive, output_size, regular  # noqa: E402

FAMILY = "pool"  # whose variants the fixture `isa` goes over
DTYPES = [np.float32, np.float64]
# kernel, stride, padding, dilation
WINDOWS = [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (3, 3, 0, 1), (4, 2, 2, 1), (2, 1, 1, 2)]
SHAPES = [(1, 1, 9, 9), (2, 3, 6, 35), (1, 17, 4, 5), (1, 70, 3, 4), (1, 2, 5, 70)]
LAYOUTS = [False, True]


def windows(n, kernel, stride, padding, dilation, ceil=False):
    count = output_size(n, kernel, stride, padding, dilation, ceil)
    return regular(n, kernel, stride, padding, dilation, count, True)


def laid(x, channels_last):
    """A copy in one of the two layouts."""
    order = (0, 2, 3, 1) if channels_last else (0, 1, 2, 3)
    return np.array(x.transpose(order), order="C").transpose(np.argsort(order))


def each_window(x, rows, cols):
    """(output's row and column, slices of the input)."""
    for (i, r), (j, c) in itertools.product(enumerate(rows), enumerate(cols)):
        spans = (slice(w[0], w[0] + w[1] * w[2], w[1]) for w in (r, c))
        yield (..., i, j), (..., *spans), r[3] * c[3]


def check_max(x, rows, cols, channels_last):
    """To the bit; the gradient is a sum of one term at most for each window over an input."""
    x = laid(x, channels_last)
    y, saved = native.pool_max_forward(x, rows, cols, True)
    alone, nothing = native.pool_max_forward(x, rows, cols, False)
    assert nothing is None
    np.testing.assert_array_equal(alone, y)
    grad = np.random.default_rng(9).standard_normal(y.shape).astype(x.dtype)
    expected = np.zeros(x.shape)
    for at, window, _ in each_window(x, rows, cols):
        inside = x[window].reshape(*x.shape[:2], -1)
        np.testing.assert_array_equal(y[at], inside.max(-1))
        one = np.eye(inside.shape[-1])[saved[at].astype(int)]
        chosen = (np.nan_to_num(inside, posinf=1e30, neginf=-1e30) * one).sum(-1)
        chosen = np.where((np.isnan(inside) & (one > 0)).any(-1), np.nan, chosen)
        np.testing.assert_array_equal(
            chosen, np.nan_to_num(y[at], nan=np.nan, posinf=1e30, neginf=-1e30)
        )
        expected[window] += (one * grad[at][..., None]).reshape(x[window].shape)
    dx = native.pool_max_backward(grad, saved, rows, cols, *x.shape[2:], channels_last)
    assert dx.strides == x.strides
    covered = len(rows) * len(cols)
    bound = np.finfo(x.dtype).eps * min(covered, 25) * np.abs(grad).max()
    assert np.abs(dx - expected).max() <= bound


def check_average(x, rows, cols, channels_last):
    x = laid(x, channels_last)
    y = native.pool_average_forward(x, rows, cols)
    grad = np.random.default_rng(9).standard_normal(y.shape).astype(x.dtype)
    expected, size = np.zeros(x.shape), np.zeros(x.shape)
    eps = np.finfo(x.dtype).eps
    for at, window, divisor in each_window(x, rows, cols):
        inside = x[window].astype(np.float64)
        bound = eps * (2 + np.sqrt(inside[0, 0].size)) * np.abs(inside).sum((-1, -2)) / divisor
        assert np.all(np.abs(y[at] - inside.sum((-1, -2)) / divisor) <= bound)
        expected[window] += grad[at][..., None, None] / divisor
        size[window] += np.abs(grad[at][..., None, None]) / divisor
    dx = native.pool_average_backward(grad, rows, cols, *x.shape[2:], channels_last)
    assert dx.strides == x.strides
    assert np.all(np.abs(dx - expected) <= eps * 8 * size)


@pytest.mark.parametrize("channels_last", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_windows(isa, dtype, channels_last):
    rng = np.random.default_rng(0)
    for shape, window in itertools.product(SHAPES, WINDOWS):
        x = rng.standard_normal(shape).astype(dtype)
        rows, cols = (windows(n, *window) for n in shape[2:])
        check_max(x, rows, cols, channels_last)
        check_average(x, rows, cols, channels_last)


@pytest.mark.parametrize("channels_last", LAYOUTS)
def test_every_width(isa, channels_last):
    """Tails of vectors along rows, or of channels."""
    rng = np.random.default_rng(1)
    for n, window in itertools.product((3, 7, 16, 17, 31, 34, 66), WINDOWS[:3]):
        shape = (1, n, 4, 5) if channels_last else (1, 1, 4, n)
        x = rng.standard_normal(shape).astype(np.float32)
        rows, cols = (windows(n, *window) for n in shape[2:])
        check_max(x, rows, cols, channels_last)
        check_average(x, rows, cols, channels_last)


@pytest.mark.parametrize("channels_last", LAYOUTS)
def test_parts_and_whole_planes(isa, channels_last):
    rng = np.random.default_rng(2)
    for shape, parts in itertools.product(
        [(1, 3, 7, 40), (1, 19, 20, 18)], [(1, 1), (2, 3), (5, 7)]
    ):
        x = rng.standard_normal(shape).astype(np.float32)
        rows, cols = (adaptive(n, count) for n, count in zip(shape[2:], parts, strict=True))
        check_max(x, rows, cols, channels_last)  # 280, 360: positions beyond a byte
        check_average(x, rows, cols, channels_last)


@pytest.mark.parametrize("channels_last", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(isa, dtype, channels_last):
    x = np.random.default_rng(3).standard_normal((1, 4, 6, 40)).astype(dtype)
    x[0, 0] = -np.inf
    x[0, 1, ::2, ::3] = np.nan
    x[0, 2, 1, :] = np.inf
    x[0, 3, :3] = np.nan
    for window in WINDOWS:
        rows, cols = (windows(n, *window) for n in x.shape[2:])
        check_max(x, rows, cols, channels_last)
    saved = native.pool_max_forward(laid(x, channels_last), rows, cols, True)[1]
    assert np.all(saved[0, 0] == 0)  # of equals the first


def test_windows_may_lie_anywhere(isa):
    """Overlapping at random, out of order, repeated, empty."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2, 3, 11, 37)).astype(np.float32)
    rows = np.array([[3, 2, 4, 1], [0, 1, 1, 2], [0, 1, 1, 2], [10, 1, 1, 1]])
    cols = np.array([[30, 1, 7, 3], [5, 3, 9, 1], [4, 1, 20, 1], [0, 36, 2, 1]])
    for channels_last in LAYOUTS:
        check_max(x, rows, cols, channels_last)
        check_average(x, rows, cols, channels_last)
    rows[1, 2] = 0
    y, saved = native.pool_max_forward(x, rows, cols, True)
    assert np.all(y[:, :, 1] == -np.inf)
    dx = native.pool_max_backward(np.ones_like(y), saved, rows, cols, 11, 37, False)
    assert dx.sum() == y.size * 3 / 4
    assert np.all(native.pool_average_forward(x, rows, cols)[:, :, 1] == 0)


@pytest.mark.parametrize("channels_last", LAYOUTS)
def test_results_past_the_caches(isa, channels_last):
    """They are written around the caches: as image by image, which are not."""
    x = laid(np.random.default_rng(7).standard_normal((5, 19, 101, 123)), channels_last)
    x = x.astype(np.float32)
    rows, cols = (windows(n, 3, 1, 1, 1) for n in x.shape[2:])

    def all_of(x):
        y, saved = native.pool_max_forward(x, rows, cols, True)
        mean = native.pool_average_forward(x, rows, cols)
        dx = native.pool_max_backward(y, saved, rows, cols, *x.shape[2:], channels_last)
        back = native.pool_average_backward(mean, rows, cols, *x.shape[2:], channels_last)
        return y, saved, mean, dx, back

    for together, *apart in zip(all_of(x), *(all_of(x[i : i + 1]) for i in range(5)), strict=True):
        np.testing.assert_array_equal(together, np.concatenate(apart))


def test_threads_do_not_change_a_bit(isa):
    x = np.random.default_rng(5).standard_normal((3, 40, 33, 35)).astype(np.float32)
    rows, cols = (windows(n, 3, 2, 1, 1) for n in x.shape[2:])
    runs = []
    try:
        for threads in (1, 2, 5):
            native.set_num_threads(threads)
            run = []
            for last in LAYOUTS:
                y, saved = native.pool_max_forward(laid(x, last), rows, cols, True)
                mean = native.pool_average_forward(laid(x, last), rows, cols)
                run += [y, saved, mean]
                run.append(native.pool_max_backward(y, saved, rows, cols, 33, 35, last))
                run.append(native.pool_average_backward(y, rows, cols, 33, 35, last))
            runs.append(run)
    finally:
        native.set_num_threads(1)
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_empty_and_other_layouts():
    rows = cols = windows(4, 2, 2, 0, 1)
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4)):
        x = np.zeros(shape, np.float32)
        y, saved = native.pool_max_forward(x, rows, cols, True)
        assert y.shape == (*shape[:2], 2, 2)
        assert native.pool_max_backward(y, saved, rows, cols, 4, 4, False).shape == shape
    none = np.zeros((0, 4), np.int64)
    assert native.pool_average_forward(np.zeros((1, 1, 4, 4)), none, cols).shape == (1, 1, 0, 2)
    dx = native.pool_average_backward(np.zeros((1, 1, 0, 2)), none, cols, 4, 4, False)
    assert np.all(dx == 0)
    x = np.random.default_rng(6).standard_normal((4, 4, 2, 3)).transpose(3, 2, 0, 1)
    expected = native.pool_average_forward(np.ascontiguousarray(x), rows, cols)
    np.testing.assert_array_equal(native.pool_average_forward(x, rows, cols), expected)
    np.testing.assert_array_equal(
        native.pool_average_forward(x[:, :, ::-1], rows, cols), expected[:, :, ::-1]
    )


def test_bad_input_raises():
    x = np.zeros((1, 1, 4, 4), np.float32)
    good = windows(4, 2, 2, 0, 1)
    for column, value in ((0, -1), (0, 3), (1, 0), (1, 2**62), (2, -1), (2, 5), (3, 0)):
        bad = good.copy()
        bad[1, column] = value
        with pytest.raises(ValueError, match=r"^\[pool_max_forward\] expected `rows` within 4"):
            native.pool_max_forward(x, bad, good, False)
    with pytest.raises(ValueError, match=r"expected `cols` as int64 \(outputs, 4\)"):
        native.pool_average_forward(x, good, good.astype(np.int32))
    with pytest.raises(ValueError, match=r"expected `x` \(N, C, H, W\)"):
        native.pool_average_forward(x[0], good, good)
    y, saved = native.pool_max_forward(x, good, good, True)
    with pytest.raises(ValueError, match="an element for each window"):
        native.pool_max_backward(x, saved, good, good, 4, 4, False)
    with pytest.raises(ValueError, match=r"expected `saved` .* uint8"):
        native.pool_max_backward(y, saved.astype(np.uint32), good, good, 4, 4, False)
    with pytest.raises(TypeError, match="float32 or float64"):
        native.pool_max_forward(x.astype(int), good, good, False)
