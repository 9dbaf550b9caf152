"""Normalisation by the compiled engine: every ISA variant, layout and length, against float64."""

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "norm"  # whose variants the fixture `isa` goes over
EPS = 1e-5
# Channels at which tiles of four vectors, single vectors and tails of every width meet.
CHANNELS = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129]
# Runs within a vector, a block and past one (4096 float32).
LENGTHS = [*range(1, 36), 63, 64, 65, 257, 768, 4095, 4096, 4097, 9000]


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def wide(*arrays):
    return [None if x is None else x.astype(np.float64) for x in arrays]


def columns(values, x):
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def batch_reference(x, weight, bias, grad):
    """y, dx, dweight, dbias in float64."""
    x, weight, bias, grad = wide(x, weight, bias, grad)
    axes, count = (0, *range(2, x.ndim)), x.size // x.shape[1]
    away = x - x.mean(axes, keepdims=True)
    away -= away.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt(np.square(away).mean(axes, keepdims=True) + EPS)
    form = away * rstd
    dweight, dbias = (grad * form).sum(axes), grad.sum(axes)
    inner = grad - (columns(dbias, x) + form * columns(dweight, x)) / count
    return (
        form * columns(weight, x) + columns(bias, x),
        columns(weight, x) * rstd * inner,
        dweight,
        dbias,
    )


def rows_reference(x, weight, bias, grad, groups, center):
    """As batch_reference, of x (rows, channels of a row, span)."""
    x, weight, bias, grad = wide(x, weight, bias, grad)
    rows, channels, _ = x.shape
    away = x
    for _ in range(2 * center):
        away = away - away.mean((1, 2), keepdims=True)
    rstd = 1 / np.sqrt(np.square(away).mean((1, 2), keepdims=True) + EPS)
    form = away * rstd
    w, b = (v.reshape(groups, channels)[np.arange(rows) % groups, :, None] for v in (weight, bias))
    g = grad * w
    inner = g - form * (g * form).mean((1, 2), keepdims=True)
    if center:
        inner = inner - g.mean((1, 2), keepdims=True)
    dweight, dbias = (v.sum(2).reshape(-1, groups * channels).sum(0) for v in (grad * form, grad))
    return form * w + b, rstd * inner, dweight, dbias


def close(found, expected, size, count, what):
    """Sums of `count` terms, in eps of the terms' sizes: eight standard deviations of a random
    walk of roundings, and a few roundings of each element."""
    assert found.shape == expected.shape, what
    bound = (8 + np.sqrt(count)) * np.finfo(found.dtype).eps * size
    error = np.abs(found - expected)
    assert np.all(error <= bound), f"{what}: {(error / bound).max():.2f} of what is allowed"


def numbers(shape, dtype, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    channels = shape[1]
    x, grad = (rng.standard_normal(shape) for _ in range(2))
    weight, bias = (rng.standard_normal(channels) for _ in range(2))
    return [v.astype(dtype) for v in (2 * x + offset, weight, bias, grad)]


def check_batch(shape, dtype, layout, offset=0.0, checked=None):
    """`checked`: how many of the channels are looked at; all for None."""
    x, weight, bias, grad = numbers(shape, dtype, offset=offset)
    x, grad = layout(x), layout(grad)
    y, mean, rstd = native.batch_norm_forward(
        x, weight, bias, None, None, True, 0.1, EPS, "none", None
    )
    dx, dweight, dbias, _ = native.batch_norm_backward(
        grad, x, weight, mean, rstd, True, None, True, False
    )
    assert y.strides == dx.strides == x.strides
    some = slice(checked)
    x, grad, y, dx = (v[:, some] for v in (x, grad, y, dx))
    weight, bias, mean, rstd, dweight, dbias = (
        v[some] for v in (weight, bias, mean, rstd, dweight, dbias)
    )
    expected = batch_reference(x, weight, bias, grad)
    # The mean is rounded at its own size, which counts in deviations of the least varied channel.
    far = 1 + np.abs(mean).max() * rstd.max()
    count, size = x.size // x.shape[1], np.abs(expected[0]).max() + far * np.abs(weight).max()
    close(y, expected[0], size, count, f"y {shape}")
    close(dx, expected[1], far * size * rstd.max(), count, f"dx {shape}")
    form = np.abs(expected[0] - columns(bias, x)).max() + far
    close(dweight, expected[2], form * np.sqrt(count) * 3, count, f"dweight {shape}")
    close(dbias, expected[3], np.sqrt(count) * 3, count, f"dbias {shape}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_of_any_channels(isa, dtype):
    for channels in CHANNELS:
        check_batch((2, channels, 5, 3), dtype, np.ascontiguousarray)
        check_batch((2, channels, 5, 3), dtype, channels_last)
        check_batch((13, channels), dtype, np.ascontiguousarray)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_batch_norm_over_many_blocks(isa, layout):
    check_batch((3, 5, 70, 71), np.float32, layout)  # a plane is more than a block
    check_batch((130, 3, 4, 4), np.float32, layout)  # a block is several planes
    check_batch((2, 5, 40, 40), np.float32, layout, offset=1e4)
    check_batch((4, 270, 6, 6), np.float32, layout)


def test_large_outputs_go_around_the_cache(isa):
    shape = (16, 32, 48, 48)  # 4.5 MiB, in planes and pixels of whole cache lines
    for layout in (np.ascontiguousarray, channels_last):
        check_batch(shape, np.float32, layout, checked=3)
    check_rows(4100, 256, 1, 256, np.float32)
    check_neighbours(shape, 8, np.float32)


def test_a_mean_far_above_the_deviation(isa):
    """float32 holds 1e4 to half a thousandth: the variance must not be lost in that."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((8, 6, 30, 30)) + 1e4).astype(np.float32)
    variance = x.astype(np.float64).var((0, 2, 3))
    for layout in (np.ascontiguousarray, channels_last):
        _, mean, rstd = native.batch_norm_forward(
            layout(x), None, None, None, None, True, 0.1, 0.0, "none", None
        )
        np.testing.assert_allclose(1 / rstd.astype(np.float64) ** 2, variance, rtol=1e-6)
        np.testing.assert_allclose(mean, x.mean((0, 2, 3), np.float64), rtol=1.2e-7)
    _, mean, rstd, _ = native.norm_rows_forward(x, None, None, 5400, 1, 6, True, 0.0)
    np.testing.assert_allclose(
        1 / rstd.astype(np.float64) ** 2, x.astype("f8").var((1, 2, 3)), rtol=1e-6
    )


def test_one_outlier_leads_its_block(isa):
    """A block's first numbers stand for its mean: the worst they can be."""
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((2, 20, 40, 40)) + 1e3).astype(np.float32)
    x[0, :, 0, 0] = -1e3
    for layout in (np.ascontiguousarray, channels_last):
        _, _, rstd = native.batch_norm_forward(
            layout(x), None, None, None, None, True, 0.1, 0.0, "none", None
        )
        found = 1 / rstd.astype(np.float64) ** 2
        np.testing.assert_allclose(found, x.astype("f8").var((0, 2, 3)), rtol=16 * 18 * 1.2e-7)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_running_statistics_move(isa, layout):
    x, *_ = numbers((3, 17, 4, 5), np.float32)
    x = layout(x)
    running = [np.full(17, 2, np.float32), np.full((17, 2), 3, np.float32)[:, 0]]
    native.batch_norm_forward(x, None, None, *running, True, 0.25, EPS, "none", None)
    axes = (0, 2, 3)
    for value, start, now in zip(
        running, (2, 3), (x.mean(axes), x.astype("f8").var(axes, ddof=1)), strict=True
    ):
        np.testing.assert_allclose(value, 0.75 * start + 0.25 * now, rtol=1e-6)
    held = [v.copy() for v in running]
    y, mean, _ = native.batch_norm_forward(x, None, None, *running, False, 0.25, EPS, "none", None)
    assert all(np.array_equal(a, b) for a, b in zip(held, running, strict=True))
    assert np.array_equal(mean, running[0])
    np.testing.assert_allclose(
        y, (x - columns(running[0], x)) / np.sqrt(columns(running[1], x) + EPS), rtol=1e-5,
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_relu_and_residual(isa, layout, training):
    x, weight, bias, grad = numbers((3, 21, 5, 3), np.float32)
    x, residual = layout(x), numbers((3, 21, 5, 3), np.float32, 1)[0]
    running = np.zeros(21, np.float32), np.ones(21, np.float32)
    plain, mean, rstd = native.batch_norm_forward(
        x, weight, bias, *running, training, 0.0, EPS, "none", None
    )
    y, *_ = native.batch_norm_forward(
        x, weight, bias, *running, training, 0.0, EPS, "relu", residual
    )
    np.testing.assert_array_equal(y, np.maximum(plain + residual, 0))
    assert 0.2 < (y == 0).mean() < 0.8
    cut = native.batch_norm_backward(grad, x, weight, mean, rstd, training, y, True, True)
    before = np.where(y > 0, grad, np.float32(0))
    whole = native.batch_norm_backward(before, x, weight, mean, rstd, training, None, True, True)
    for a, b in zip(cut, whole, strict=True):
        np.testing.assert_array_equal(a, b)
    alone = native.batch_norm_backward(grad, x, weight, mean, rstd, training, y, False, True)
    assert alone[0] is None
    np.testing.assert_array_equal(alone[3], before)


def check_rows(rows, length, groups, channels, dtype, center=True):
    """`channels`: of one row."""
    rng = np.random.default_rng(0)
    shape = (rows, channels, length // channels)
    x = (2 * rng.standard_normal(shape) + 1).astype(dtype)
    grad = (2 * rng.standard_normal(shape)).astype(dtype)
    weight, bias = (rng.standard_normal(groups * channels).astype(dtype) for _ in range(2))
    expected = rows_reference(x, weight, bias, grad, groups, center)
    y, mean, rstd, _ = native.norm_rows_forward(
        x, weight, bias, length, groups, groups * channels, center, EPS
    )
    dx, dweight, dbias = native.norm_rows_backward(
        grad, x, weight, mean, rstd, length, groups, groups * channels, True
    )
    what = f"{shape} in {groups}"
    assert (mean is None) == (not center)
    spread, largest = rstd.max(), 1 + np.abs(weight).max()
    far = 1 + (np.abs(mean).max() * spread if center else 0)
    form = far * 8
    close(y, expected[0], form * largest, length, f"y {what}")
    close(dx, expected[1], form * form * largest * spread, length, f"dx {what}")
    terms = rows // groups * shape[2]
    close(dweight, expected[2], form * 3 * np.sqrt(terms), terms, f"dweight {what}")
    close(dbias, expected[3], 3 * np.sqrt(terms), terms, f"dbias {what}")


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_every_length(isa, dtype, center):
    for length in LENGTHS[2:]:
        check_rows(3, length, 1, length, dtype, center)
    check_rows(700, 33, 1, 33, dtype, center)  # many tasks' partial gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_of_channels(isa, dtype):
    for span in (1, 2, 5, 16, 49, 67):
        check_rows(12, 6 * span, 4, 6, dtype)
        check_rows(12, 8 * span, 1, 8, dtype)
    check_rows(6, 3 * 5000, 2, 3, dtype)  # a channel is more than a block
    check_rows(600, 3 * 4, 3, 3, dtype)


def check_neighbours(shape, groups, dtype, offset=0.0):
    """Groups of channels-last images: what C order gives, but for the order of the sums."""
    x, weight, bias, grad = numbers(shape, dtype, offset=offset)
    length, channels = x[0].size // groups, shape[1]
    split = (shape[0] * groups, channels // groups, -1)
    expected = rows_reference(x.reshape(split), weight, bias, grad.reshape(split), groups, True)
    x, grad = channels_last(x), channels_last(grad)
    y, mean, rstd, _ = native.norm_rows_forward(
        x, weight, bias, length, groups, channels, True, EPS
    )
    dx, dweight, dbias = native.norm_rows_backward(
        grad, x, weight, mean, rstd, length, groups, channels, True
    )
    assert y.strides == dx.strides == x.strides
    what, spread, largest = f"{shape} in {groups}", rstd.max(), 1 + np.abs(weight).max()
    form = 8 * (1 + np.abs(mean).max() * spread)
    close(y, expected[0].reshape(shape), form * largest, length, f"y {what}")
    close(dx, expected[1].reshape(shape), form * form * largest * spread, length, f"dx {what}")
    terms = x.size // channels
    close(dweight, expected[2], form * 3 * np.sqrt(terms), terms, f"dweight {what}")
    close(dbias, expected[3], 3 * np.sqrt(terms), terms, f"dbias {what}")
    apart = native.norm_rows_backward(grad, x, weight, mean, rstd, length, groups, channels, False)
    assert apart[0] is None
    assert np.array_equal(apart[1], dweight)
    assert np.array_equal(apart[2], dbias)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_of_neighbours(isa, dtype):
    for channels in CHANNELS[1:]:
        for groups in {1, channels, *(g for g in (2, 3, 5, 16) if channels % g == 0)}:
            check_neighbours((3, channels, 3, 5), groups, dtype)
    check_neighbours((2, 6, 40, 50), 3, dtype)  # a sample is several blocks
    check_neighbours((300, 8, 6, 6), 4, dtype)  # several samples go through the passes together
    check_neighbours((2, 6, 40, 40), 2, dtype, offset=1e4)


def test_groups_of_neighbours_that_are_not_centred(isa):
    x, weight, bias, grad = numbers((3, 8, 4, 5), np.float32)
    runs = []
    for layout in (np.ascontiguousarray, channels_last):
        y, mean, rstd, _ = native.norm_rows_forward(layout(x), weight, bias, 40, 4, 8, False, EPS)
        assert mean is None
        runs.append((y, rstd, *native.norm_rows_backward(
            layout(grad), layout(x), weight, None, rstd, 40, 4, 8, True
        )))  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_groups_of_planes_whatever_their_axes_order(isa, groups):
    x, weight, bias, grad = numbers((3, 8, 5, 7), np.float32)
    length = x[0].size // groups
    y, mean, rstd, _ = native.norm_rows_forward(x, weight, bias, length, groups, 8, True, EPS)
    turned = np.ascontiguousarray(x.swapaxes(2, 3)).swapaxes(2, 3)
    found = native.norm_rows_forward(turned, weight, bias, length, groups, 8, True, EPS)
    assert found[0].strides == turned.strides
    np.testing.assert_allclose(found[0], y, rtol=0, atol=1e-5)
    dx, *_ = native.norm_rows_backward(grad, x, weight, mean, rstd, length, groups, 8, True)
    also, *_ = native.norm_rows_backward(grad, turned, weight, mean, rstd, length, groups, 8, True)
    assert also.strides == turned.strides
    np.testing.assert_allclose(also, dx, rtol=0, atol=1e-5)


def test_weights_may_be_left_out(isa):
    x, *_, grad = numbers((4, 6, 3, 3), np.float32)
    ones, zeros = np.ones(6, np.float32), np.zeros(6, np.float32)
    last = channels_last(x)
    calls = [
        lambda w, b: native.batch_norm_forward(x, w, b, None, None, True, 0.1, EPS, "none", None),
        lambda w, b: native.norm_rows_forward(x, w, b, 27, 2, 6, True, EPS)[:3],
        lambda w, b: native.norm_rows_forward(last, w, b, 27, 2, 6, True, EPS)[:3],
    ]
    backs = [
        lambda w, m, r: native.batch_norm_backward(grad, x, w, m, r, True, None, True, False)[:3],
        lambda w, m, r: native.norm_rows_backward(grad, x, w, m, r, 27, 2, 6, True),
        lambda w, m, r: native.norm_rows_backward(grad, last, w, m, r, 27, 2, 6, True),
    ]
    for forward, backward in zip(calls, backs, strict=True):
        bare, given = forward(None, None), forward(ones, zeros)
        pairs = [*zip(bare, given, strict=True)]
        pairs += zip(backward(None, *bare[1:]), backward(ones, *bare[1:]), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_nan_and_inf_stay_in_their_channel_or_row(isa):
    for value in (np.nan, np.inf):
        x, weight, bias, _ = numbers((2, 19, 6, 6), np.float32)
        x[1, 7, 5, 5] = value
        for layout in (np.ascontiguousarray, channels_last):
            y, *_ = native.batch_norm_forward(
                layout(x), weight, bias, None, None, True, 0.1, EPS, "relu", None
            )
            wrong = np.isnan(y).any((0, 2, 3))
            assert np.isnan(y[:, 7]).all()
            assert wrong.sum() == 1
            y, *_ = native.norm_rows_forward(layout(x), None, None, 36, 19, 19, True, EPS)
            assert np.isnan(y[1, 7]).all()
            assert np.isnan(y).sum() == 36


def test_threads_do_not_change_a_bit(isa):
    x, weight, bias, grad = numbers((40, 48, 16, 16), np.float32)
    last, last_grad = channels_last(x), channels_last(grad)
    rows = x.reshape(-1, 256)
    runs = []
    try:
        for threads in (1, 2, 5):
            native.set_num_threads(threads)
            found = []
            for a, g in ((x, grad), (last, last_grad)):
                found += native.batch_norm_forward(
                    a, weight, bias, None, None, True, 0.1, EPS, "none", None
                )
                found += native.batch_norm_backward(
                    g, a, weight, *found[-2:], True, None, True, False
                )[:3]
            for groups, channels in ((1, 256), (48, 48)):
                found += native.norm_rows_forward(
                    rows, None, None, 256, groups, channels, True, EPS
                )[:3]
                found += native.norm_rows_backward(
                    grad.reshape(-1, 256), rows, None, *found[-2:], 256, groups, channels, True
                )
            found += native.norm_rows_forward(last, weight, bias, 1024, 12, 48, True, EPS)[:3]
            found += native.norm_rows_backward(
                last_grad, last, weight, *found[-2:], 1024, 12, 48, True
            )
            runs.append(found)
    finally:
        native.set_num_threads(1)
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_no_samples():
    x, weight = np.zeros((0, 3, 2, 2), np.float32), np.ones(3, np.float32)
    y, mean, rstd = native.batch_norm_forward(
        x, weight, weight, weight, weight, False, 0.1, EPS, "none", None
    )
    found = native.batch_norm_backward(x, x, weight, mean, rstd, False, None, True, False)
    assert y.shape == found[0].shape == x.shape
    assert not found[1].any()
    y, mean, rstd, _ = native.norm_rows_forward(x, weight, weight, 12, 1, 3, True, EPS)
    found = native.norm_rows_backward(x, x, weight, mean, rstd, 12, 1, 3, True)
    assert y.shape == x.shape
    assert not found[1].any()
    assert found[1].shape == (3,)


def test_bad_input_raises():
    x, ones = np.zeros((2, 3, 4), np.float32), np.ones(3, np.float32)

    def batch(x, weight=None, running=None, training=True, activation="none", residual=None):
        return native.batch_norm_forward(
            x, weight, None, running, running, training, 0.1, EPS, activation, residual
        )

    with pytest.raises(ValueError, match=r"^\[batch_norm\] expected `input` of shape \(N, C"):
        batch(ones)
    with pytest.raises(ValueError, match=r"`weight` of 3 elements; got \(4,\)"):
        batch(x, np.ones(4, np.float32))
    with pytest.raises(TypeError, match=r"`weight` of the dtype of `input`, float32; got float64"):
        batch(x, np.ones(3))
    with pytest.raises(ValueError, match=r"`running_mean` in inference; got None"):
        batch(x, training=False)
    with pytest.raises(ValueError, match=r"writeable vector of 3; got \(2,\)"):
        batch(x, running=np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"activation none or relu; got 'gelu'"):
        batch(x, activation="gelu")
    with pytest.raises(ValueError, match=r"\(2, 3, 4\); got \(2, 4, 3\)"):
        batch(x, residual=x.reshape(2, 4, 3))
    with pytest.raises(ValueError, match=r"^\[norm_rows\] .* divide shape \(2, 3, 4\); got 5,"):
        native.norm_rows_forward(x, None, None, 5, 1, 5, True, EPS)
    with pytest.raises(ValueError, match=r"^\[norm_rows_backward\] expected `mean` of 6"):
        native.norm_rows_backward(x, x, None, ones, ones, 4, 1, 4, True)
