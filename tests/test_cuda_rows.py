"""The cuda engine's reductions, softmax, norms and losses on the simulated device, beside the
native engine's and float64."""

import itertools

import numpy as np
import pytest

from tilework.engines import ops
from tilework.engines.cuda import errors
from tilework.testing import simulated, stand_in
from tilework.testing.tolerance import eps, growth, tiny

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")
pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

DTYPES = ["float32", "float64"]


@pytest.fixture(scope="module", params=simulated.ORDERS)
def device(request):
    with simulated.device(order=request.param, seed=7) as served:
        yield served


def there(value):
    """NumPy's arrays as the device's."""
    return stand_in.StandIn(value) if isinstance(value, np.ndarray) else value


def here(value):
    if isinstance(value, (tuple, list)):
        return tuple(map(here, value))
    return value._held.copy("K") if isinstance(value, stand_in.StandIn) else value


def run(name, *args):
    """The op on the simulated device, of NumPy's arrays and to them."""
    return here(getattr(ops, name)(*map(there, args)))


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# --- reduce ---


def check_sum(got, x, axes, keepdims=False):
    exact = np.sum(x.astype(np.longdouble), axis=axes, keepdims=keepdims)
    magnitude = np.sum(np.abs(x.astype(np.longdouble)), axis=axes, keepdims=keepdims)
    depth = 16 + np.log2(max(x.size, 2))  # short chains, joined in pairs
    assert got.dtype == x.dtype
    assert got.shape == exact.shape
    assert np.all(np.abs(got - exact) <= depth / 2 * eps(x.dtype.name) * magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5, 1), 1), ((3, 2), 1), ((9, 7), 1), ((6, 33), 1), ((5, 64), 1), ((3, 1024), 1),
        ((2, 1025), 1), ((1, 20001), 1), ((33, 5), 0), ((70, 8), 0), ((300, 3), 0), ((2100, 36), 0),
        ((40, 9, 5), 1), ((3, 40, 5), 1), ((2, 37, 132), 1), ((0, 3), 0), ((3, 0), 1), ((0, 4), 1),
    ],
)  # fmt: skip
def test_one_axis(device, dtype, shape, axis):
    x = numbers(shape, dtype)
    check_sum(run("sum", x, (axis,), False), x, (axis,))
    if x.size:
        for name in ("max", "min"):
            got = run(name, x, (axis,), True)
            np.testing.assert_array_equal(got, getattr(np, name)(x, axis=axis, keepdims=True))
            assert got.dtype == dtype


@pytest.mark.parametrize("axes", [a for k in range(4) for a in itertools.combinations(range(3), k)])
def test_every_set_of_axes_and_layout(device, axes):
    x = numbers((3, 5, 12), "float32")
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        turned = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        for source in (turned, np.repeat(turned, 2, axis=2)[..., ::2], turned[::-1]):
            check_sum(run("sum", source, axes, order[0] == 0), source, axes, order[0] == 0)
            np.testing.assert_array_equal(run("max", source, axes, False), np.max(source, axes))
        count = np.prod([x.shape[i] for i in axes], dtype=np.float32)
        total = run("sum", turned, axes, False)
        np.testing.assert_array_equal(run("mean", turned, axes, False), total / count)


def test_nan_infinity_and_nothing(device):
    for n, axis in ((7, 1), (40, 0), (1300, 1)):
        x = numbers((2, n) if axis else (n, 2), "float32")
        rows = x if axis else x.T
        rows[1, n // 2] = np.nan
        for name in ("sum", "mean", "max", "min"):
            assert np.isnan(run(name, x, (axis,), False)).tolist() == [False, True]
        rows[1, n // 2] = -np.inf
        assert run("min", x, (axis,), False)[1] == run("sum", x, (axis,), False)[1] == -np.inf
    nothing = np.zeros((3, 0), np.float32)
    assert run("sum", nothing, (1,), False).tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(run("mean", nothing, (1,), False)).all()
    assert run("sum", nothing, (0,), True).shape == (1, 0)
    with pytest.raises(ValueError, match=r"^\[max\] expected at least one element"):
        run("max", nothing, (1,), False)


def test_sum_to_shape(device):
    x = numbers((4, 3, 1, 5), "float32")
    for shape in [(5,), (1, 5), (3, 1, 1), (1, 1, 1), (), (4, 3, 1, 5), (4, 1, 1, 5), (1,)]:
        model = np.broadcast_to(np.zeros(shape), x.shape)
        axes = tuple(i for i in range(4) if model.strides[i] == 0)
        got = run("sum_to_shape", x, shape)
        assert got.shape == shape
        check_sum(got.reshape(np.sum(x, axis=axes).shape), x, axes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums(device, dtype, reverse):
    for shape, axis in (((3, 1), 1), ((2, 33), 1), ((2, 2051), 1), ((7, 5), 0), ((3, 40, 6), 1),
                        ((3, 0), 1), ((0, 3), 1), ((4, 30)[::-1], 1)):  # fmt: skip
        x = numbers(shape, dtype).T.copy().T  # strided along the axis
        got = run("cumsum", x, axis, reverse)
        turned = np.flip(x, axis) if reverse else x
        exact = np.cumsum(turned.astype(np.longdouble), axis)
        size = np.cumsum(np.abs(turned).astype(np.float64), axis)
        exact, size = (np.flip(v, axis) if reverse else v for v in (exact, size))
        assert got.shape == shape
        # In double, then rounded once.
        bound = eps(dtype) / 2 * np.abs(exact) + shape[axis] * eps("float64") * size
        assert np.all(np.abs(got - exact) <= bound)


# --- softmax ---


def check_close(got, expected, magnitude, length):
    """Within `growth` of a sum of `length` in eps of the magnitude."""
    assert got.shape == expected.shape
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    bound = growth(length) * eps(got.dtype.name) * magnitude + tiny(got.dtype.name)
    assert np.all((np.abs(got - expected) <= bound) | np.isnan(expected))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 1), 1), ((5, 7), 1), ((6, 32), 1), ((2, 129), 1), ((2, 1024), 1), ((2, 1028), 1),
        ((1, 8193), 1), ((1, 9000), 1), ((3, 1), 0), ((7, 5), 0), ((40, 36), 0), ((600, 3), 0),
        ((3, 9, 8), 1), ((2, 70, 131), 1), ((0, 3), 1), ((3, 0), 1), ((0, 3), 0),
    ],
)  # fmt: skip
def test_softmax(device, dtype, shape, axis):
    x, grad = 4 * numbers(shape, dtype), numbers(shape, dtype, 1)
    if x.size == 0:
        assert run("softmax_forward", x, axis, False).shape == shape
        assert run("softmax_backward", grad, x, axis, True).shape == shape
        return
    n = shape[axis]
    y = softmax(x.astype(np.float64), axis)
    # An exponent is off by half an eps of its size, the logarithm by its own too.
    check_close(run("softmax_forward", x, axis, False), y, 50 * y, n)
    check_close(run("softmax_forward", x, axis, True), np.log(y), 4 - np.log(y), n)
    total = np.sum(grad * y, axis, keepdims=True)
    size = y * (np.abs(grad) + np.sum(np.abs(grad) * y, axis, keepdims=True))
    check_close(
        run("softmax_backward", grad, y.astype(dtype), axis, False), y * (grad - total), size, n
    )
    total = np.sum(grad.astype(np.float64), axis, keepdims=True)
    size = 50 * (np.abs(grad) + y * np.abs(grad).sum(axis, keepdims=True))
    logs = np.log(y).astype(dtype)
    check_close(run("softmax_backward", grad, logs, axis, True), grad - y * total, size, n)


@pytest.mark.parametrize(("n", "axis"), [(5, 1), (33, 0), (1100, 1), (9001, 1)])
def test_softmax_of_nan_and_infinity(device, n, axis):
    x = numbers((6, n) if axis else (n, 6), "float32")
    rows = x if axis else x.T
    rows[1, n // 2] = np.nan
    rows[2, n // 2] = np.inf
    rows[3] = -np.inf
    rows[4, : n // 2] = -np.inf
    rows[5] = np.finfo(np.float32).min
    for log in (False, True):
        got = run("softmax_forward", x, axis, log)
        expected = native.softmax_forward(x, axis, log)
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-7)


def test_softmax_of_strided_arrays_and_other_layouts(device):
    x = numbers((4, 6, 10), "float32")
    for source in (x[:, ::2], x.transpose(2, 0, 1), x[::-1], np.broadcast_to(x[:1], (3, 6, 10))):
        for axis in range(3):
            got = run("softmax_forward", source, axis, False)
            y = softmax(source.astype(np.float64), axis)
            check_close(got, y, 10 * y, source.shape[axis])
            grad = numbers(source.shape, "float32", 2)
            np.testing.assert_allclose(
                run("softmax_backward", grad, got, axis, False),
                native.softmax_backward(grad, got, axis, False), atol=4e-7,
            )  # fmt: skip


# --- norms ---

EPS = 1e-5


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def batch_reference(x, weight, bias, grad):
    """y, dx, dweight, dbias and the sizes of what goes into them, in float64."""
    x, weight, bias, grad = (v.astype(np.float64) for v in (x, weight, bias, grad))
    axes, count, shape = (0, *range(2, x.ndim)), x.size // x.shape[1], (-1, *(1,) * (x.ndim - 2))
    away = x - x.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt(np.square(away).mean(axes, keepdims=True) + EPS)
    form, w = away * rstd, weight.reshape(shape)
    dweight, dbias = (grad * form).sum(axes), grad.sum(axes)
    inner = grad - (dbias.reshape(shape) + form * dweight.reshape(shape)) / count
    return form * w + bias.reshape(shape), w * rstd * inner, dweight, dbias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((5, 3), False), ((70, 36), False), ((600, 4), False), ((2, 3, 5), False),
        ((3, 2, 4, 8), False), ((2, 5, 49), False), ((1, 2, 9001), False), ((3, 1, 7), False),
        ((4, 8, 3, 3), True), ((2, 5, 9), True),
    ],
)  # fmt: skip
def test_batch_norm(device, dtype, shape, last):
    x, grad, residual = (numbers(shape, dtype, i) for i in range(3))
    x += 30  # a mean far above the deviation
    if last:
        x, grad = channels_last(x), channels_last(grad)
    channels = shape[1]
    weight, bias = numbers(channels, dtype, 3), numbers(channels, dtype, 4)
    mean, var = numbers(channels, dtype, 5), np.abs(numbers(channels, dtype, 6))
    y, dx, dweight, dbias = batch_reference(x, weight, bias, grad)
    running = stand_in.StandIn(mean.copy()), stand_in.StandIn(np.repeat(var, 2)[::2])
    moved = mean.copy(), var.copy()
    got = run(
        "batch_norm_forward", x, weight, bias, *running, True, 0.25, EPS, "none", None
    )  # fmt: skip
    expected = native.batch_norm_forward(x, weight, bias, *moved, True, 0.25, EPS, "none", None)
    n = x.size // channels
    size = 40 * np.abs(y).max()  # x itself is off by eps of its mean
    check_close(got[0], y, size, n)
    for a, b in zip((*got[1:], *map(here, running)), (*expected[1:], *moved), strict=True):
        check_close(a, b, 2 * np.abs(b), n)
    assert got[0].strides == x.strides
    back = run(
        "batch_norm_backward", grad, x, weight, got[1], got[2], True, None, True, True
    )  # fmt: skip
    check_close(back[0], dx, 40 * np.abs(dx).max(), n)
    check_close(back[1], dweight, 40 * np.sqrt(n) * np.abs(grad).max(), n)
    check_close(back[2], dbias, n**0.5 * np.abs(grad).max(), n)
    np.testing.assert_array_equal(back[3], grad)
    # With a residual and relu, and the running statistics.
    args = (x, weight, bias, mean, var, False, 0.1, EPS, "relu", residual)
    cut, own = run("batch_norm_forward", *args), native.batch_norm_forward(*args)
    check_close(cut[0], own[0], 80 * np.abs(own[0]).max(), 4)
    args = (grad, x, weight, own[1], own[2], False, own[0], True, True)
    for a, b in zip(
        run("batch_norm_backward", *args), native.batch_norm_backward(*args), strict=True
    ):
        check_close(a, b, 40 * (np.abs(b).max() + np.sqrt(n)), n)


@pytest.mark.parametrize("shape", [(300, 36), (2, 3, 9001)])  # several parts, of columns and planes
def test_a_mean_far_above_the_deviation_costs_no_digits(device, shape):
    x = (4096 + 0.002 * numbers(shape, "float64")).astype(np.float32)
    args = (x, None, None, None, None, True, 0.1, 0.0, "none", None)
    away = x.astype(np.float64) - x.mean((0, *range(2, x.ndim)), np.float64, keepdims=True)
    rstd = 1 / np.sqrt(np.square(away).mean((0, *range(2, x.ndim))))
    np.testing.assert_allclose(run("batch_norm_forward", *args)[2], rstd, rtol=1e-5)
    rows = x.reshape(-1, x.shape[-1])[:4]
    got = run("norm_rows_forward", rows, None, None, x.shape[-1], 1, x.shape[-1], True, 0.0)
    np.testing.assert_allclose(got[2], 1 / rows.astype(np.float64).std(1), rtol=1e-5)


def rows_reference(x, weight, bias, grad, groups, center):
    """As batch_reference, of x (rows, channels of a row, span)."""
    x, weight, bias, grad = (v.astype(np.float64) for v in (x, weight, bias, grad))
    rows, channels, _ = x.shape
    away = x - x.mean((1, 2), keepdims=True) * center
    rstd = 1 / np.sqrt(np.square(away).mean((1, 2), keepdims=True) + EPS)
    form = away * rstd
    w, b = (v.reshape(groups, channels)[np.arange(rows) % groups, :, None] for v in (weight, bias))
    g = grad * w
    inner = g - form * (g * form).mean((1, 2), keepdims=True)
    inner -= g.mean((1, 2), keepdims=True) * center
    dweight, dbias = (v.sum(2).reshape(-1, groups * channels).sum(0) for v in (grad * form, grad))
    return form * w + b, inner * rstd, dweight, dbias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "channels", "span", "groups"),
    [
        (3, 1, 1, 1), (5, 7, 1, 1), (6, 32, 1, 1), (150, 36, 1, 1), (3, 1000, 1, 1),
        (2, 1028, 1, 1), (1, 8200, 1, 1), (2, 2051, 1, 1), (6, 4, 9, 3), (4, 3, 8, 2), (8, 4, 1, 4),
        (2, 2, 600, 1), (6, 1, 16, 3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("center", [True, False])
def test_norm_of_rows(device, dtype, rows, channels, span, groups, center):
    shape = (rows, channels, span)
    x, grad, more = (numbers(shape, dtype, i) for i in range(3))
    x += 10 * center
    weight, bias = (numbers(groups * channels, dtype, i) for i in (3, 4))
    numbers_of = (channels * span, groups, groups * channels)
    y, dx, dweight, dbias = rows_reference(x, weight, bias, grad, groups, center)
    got = run("norm_rows_forward", x, weight, bias, *numbers_of, center, EPS)
    n = channels * span
    check_close(got[0], y, 20 * (1 + np.abs(y).max()) / np.sqrt(EPS if n == 1 else 1), n)
    if n == 1:  # nothing but rounding is left beside eps
        return
    assert (got[1] is None) == (not center)
    assert got[3] is None
    back = run(
        "norm_rows_backward", grad, x, weight, got[1], got[2], *numbers_of, True, more
    )  # fmt: skip
    check_close(back[0], dx + more, 20 * (1 + np.abs(dx).max()), n)
    total = rows // groups * span
    check_close(back[1], dweight, 40 * np.sqrt(total), total)
    check_close(back[2], dbias, 4 * np.sqrt(total), total)
    # Without weights, of a sum with a residual.
    got = run("norm_rows_forward", x, None, None, *numbers_of, center, EPS, more)
    own = native.norm_rows_forward(x, None, None, *numbers_of, center, EPS, more)
    for a, b in zip(got, own, strict=True):
        if b is not None:
            check_close(a, b, 20 * (1 + np.abs(b).max()), n)


def test_norms_of_nothing_and_other_layouts(device):
    nothing = np.zeros((0, 3, 4), np.float32)
    one, running = np.ones(3, np.float32), np.ones(3, np.float32)
    y, mean, rstd = run(
        "batch_norm_forward", nothing, one, one, running, running, True, 0.1, EPS, "none", None
    )  # fmt: skip
    assert y.shape == nothing.shape
    assert np.isnan(mean).all()
    assert np.isnan(rstd).all()
    back = run("batch_norm_backward", nothing, nothing, one, one, one, True, None, True, False)
    assert back[1].tolist() == back[2].tolist() == [0.0] * 3
    weight = np.ones(4, np.float32)
    assert run("norm_rows_forward", nothing, weight, None, 4, 1, 4, True, EPS)[2].shape == (0,)
    back = run(
        "norm_rows_backward", nothing, nothing, weight, None, one[:0], 4, 1, 4, True
    )  # fmt: skip
    assert back[1].tolist() == back[2].tolist() == [0.0] * 4
    images = channels_last(numbers((2, 6, 3, 5), "float32"))  # groups of two channels
    weight = numbers(6, "float32", 1)
    got = run("norm_rows_forward", images, weight, weight, 30, 3, 6, True, EPS)
    own = native.norm_rows_forward(images, weight, weight, 30, 3, 6, True, EPS)
    assert got[0].strides == own[0].strides
    np.testing.assert_allclose(got[0], own[0], atol=2e-6)
    x = numbers((2, 8), "float32")
    x[1, 3] = np.inf
    for center in (True, False):
        args = (x, None, None, 8, 1, 8, center, EPS)
        own = native.norm_rows_forward(*args)
        for a, b in zip(run("norm_rows_forward", *args), own, strict=True):
            if b is not None:
                np.testing.assert_allclose(a, b, rtol=1e-5)


def test_arrays_that_do_not_begin_at_16_bytes(device):
    def off(shape, seed=0):
        return numbers(int(np.prod(shape)) + 1, "float32", seed)[1:].reshape(shape)

    def moved(*args):  # a view into the device's memory, where there() would make a copy
        return [
            stand_in.StandIn(np.concatenate([a.reshape(-1)[:1], a.reshape(-1)]))[1:].reshape(
                a.shape
            )
            if isinstance(a, np.ndarray) and a.size
            else a
            for a in args
        ]

    x, w = off((6, 40, 8)), off((8,), 1)
    images = off((2, 8, 4, 4), 2)
    target = np.arange(6) % 4
    for name, args in (
        ("sum", (x, (1,), False)),
        ("max", (x, (2,), False)),
        ("sum", (x, (0, 1, 2), False)),
        ("softmax_forward", (x, 1, False)),
        ("softmax_backward", (x, x, 2, True)),
        ("norm_rows_forward", (x, w, w, 8, 1, 8, True, EPS)),
        ("norm_rows_backward", (x, x, w, None, np.ones(240, np.float32), 8, 1, 8, True)),
        ("batch_norm_forward", (images, w, w, None, None, True, 0.1, EPS, "relu", images)),
        ("batch_norm_backward", (images, images, w, w, w, True, images, True, True)),
        ("distance_forward", ("huber", x, x * 2, 0.5, "mean")),
        ("distance_backward", ("square", x, x, x * 2, 0.5, "none")),
    ):
        got, own = here(getattr(ops, name)(*moved(*args))), getattr(native, name)(*args)
        for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, own)), strict=True):
            if b is not None:
                check_close(a, b, 4 * (1 + np.abs(b).max()), 40)
    logits = off((6, 4))
    loss, _ = ops.cross_entropy_forward(
        *moved(logits), stand_in.StandIn(target), None, -100, 0.0, "none"
    )
    own = native.cross_entropy_forward(logits, target, None, -100, 0.0, "none")[0]
    check_close(here(loss), own, 4 * own, 4)


# --- losses ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 1), (9, 7), (300, 10), (4, 128), (3, 1030), (2, 8300)])
def test_cross_entropy(device, dtype, shape):
    x = 5 * numbers(shape, dtype)
    rows, classes = shape
    rng = np.random.default_rng(3)
    target, weight = rng.integers(0, classes, rows), rng.random(classes).astype(dtype)
    target[1] = -100
    for w, smoothing, reduction in (
        (None, 0.0, "mean"), (weight, 0.0, "none"), (weight, 0.2, "mean"), (None, 0.3, "sum"),
    ):  # fmt: skip
        options = (-100, smoothing, reduction)
        loss, saved = run("cross_entropy_forward", x, target, w, *options)
        own, kept = native.cross_entropy_forward(x, target, w, *options)
        size = 50 * max(1, np.abs(own).max())
        check_close(loss, own, size, classes + rows)
        grad = numbers(own.shape, dtype, 4) if own.shape else np.asarray(2, dtype)
        check_close(
            run("cross_entropy_backward", grad, x, target, w, saved, *options),
            native.cross_entropy_backward(grad, x, target, w, kept, *options),
            50 * np.abs(grad).max(), classes,
        )  # fmt: skip


def test_cross_entropy_of_odd_rows(device):
    x = 3 * numbers((6, 9), "float32")[:, 1:]  # no row begins at 16 bytes
    x[1, 2], x[2, 3], x[3] = np.nan, np.inf, -np.inf
    x[4] *= 1e30
    target = np.array([0, 1, 2, 3, 4, 5])
    loss, _ = run("cross_entropy_forward", x, target, None, -100, 0.0, "none")
    own, _ = native.cross_entropy_forward(x, target, None, -100, 0.0, "none")
    np.testing.assert_allclose(loss, own, rtol=1e-5)
    nothing, labels = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    assert np.isnan(run("cross_entropy_forward", nothing, labels, None, -100, 0.0, "mean")[0])
    assert run("cross_entropy_forward", nothing, labels, None, -100, 0.0, "sum")[0] == 0
    # A class that there is not touches nothing, and is an error once the device was waited for.
    run("cross_entropy_forward", x, target + 3, None, -100, 0.0, "sum")
    with pytest.raises(IndexError, match=r"^\[cross_entropy\] expected indices in \[0, 8\); got 8"):
        errors.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["square", "absolute", "huber", "smooth"])
def test_distances(device, dtype, kind):
    shapes = [(3,), (7, 11), (8, 12)] + [(8200,)] * (kind == "smooth")  # more than one part
    for shape in shapes:
        a, b = numbers(shape, dtype), numbers(shape, dtype, 1)
        a.reshape(-1)[0] = b.reshape(-1)[0]
        a.reshape(-1)[2] = np.nan
        for source in (a, a.T, np.repeat(a, 2, 0)[::2]):
            for reduction in ("none", "sum", "mean"):
                given = source
                if reduction != "none":
                    given = np.nan_to_num(source)
                args = (given, b.reshape(given.shape), 0.7, reduction)
                loss, own = (
                    run("distance_forward", kind, *args),
                    native.distance_forward(kind, *args),
                )
                check_close(loss, own, 4 * np.abs(own), given.size)
                grad = numbers(own.shape, dtype, 2) if own.shape else np.asarray(3, dtype)
                got = run("distance_backward", kind, grad, *args)
                own = native.distance_backward(kind, grad, *args)
                check_close(got, own, np.abs(own), 1)
                assert got.strides == own.strides
    nothing = np.zeros((0, 3), dtype)
    assert np.isnan(run("distance_forward", kind, nothing, nothing, 1.0, "mean"))
    assert run("distance_forward", kind, nothing, nothing, 1.0, "sum") == 0
