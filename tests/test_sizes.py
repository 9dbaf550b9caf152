"""Sizes beyond memory and beyond 64 bits: served where little of them is used, else refused."""

import time

import numpy as np
import pytest

import tilework as tw
from tilework import engines
from tilework import functional as F

WIDE = 2**60
IMAGE = (2, 3, 8, 8)


@pytest.fixture(params=engines.available_engines(), autouse=True)
def engine(request):
    before = engines.current_engine()
    engines.use_engine(request.param)
    yield request.param
    engines.use_engine(before)


def normal(*shape):
    return tw.tensor(np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32"))


def gradients(call, *tensors):
    for t in tensors:
        t.requires_grad_()
        t.grad = None
    y = call(*tensors)
    (y * y).sum().backward()
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]


def centre(w, kernel=3):
    """Of a weight, what the taps in the middle alone make."""
    return w[(..., *(slice(kernel // 2, kernel // 2 + 1),) * (w.ndim - 2))]


@pytest.mark.parametrize("far", [4096, 2**31, WIDE])
@pytest.mark.parametrize(
    ("function", "x", "w"),
    [
        (F.conv2d, IMAGE, (4, 3, 3, 3)),
        (F.conv1d, (2, 3, 8), (4, 3, 3)),
        (F.conv_transpose2d, IMAGE, (3, 4, 3, 3)),
        (F.conv_transpose1d, (2, 3, 8), (3, 4, 3)),
    ],
)
def test_taps_that_never_meet_the_image_are_dropped(function, x, w, far):
    x, w = normal(*x), normal(*w)
    started = time.perf_counter()
    found = gradients(lambda x, w: function(x, w, padding=far, dilation=far), x, w)
    assert time.perf_counter() - started < 5.0  # four seconds and a gigabyte, once
    right = gradients(lambda x, w: function(x, centre(w)), x, w)
    for f, r in zip(found, right, strict=True):
        np.testing.assert_allclose(f, r, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("far", [2**20, 2**40, 2**58])
def test_windows_may_lie_far_apart(far):
    # Three windows, each of three taps; of the nine three meet the image, each another one.
    x, w = normal(2, 3, 4, 8), normal(4, 3, 1, 3)
    options = {"padding": (0, 2 * far), "dilation": (1, far), "stride": (1, far)}
    found = gradients(lambda x, w: F.conv2d(x, w, **options), x, w)
    pixel = lambda x, w, i: F.conv2d(x[..., :1], w[..., i : i + 1])  # noqa: E731
    right = gradients(lambda x, w: tw.cat([pixel(x, w, i) for i in (2, 1, 0)], 3), x, w)
    for f, r in zip(found, right, strict=True):
        np.testing.assert_allclose(f, r, rtol=1e-5, atol=1e-4)


def test_unfold_drops_what_never_meets_the_image():
    x = normal(*IMAGE)
    options = {"padding": WIDE, "dilation": WIDE}
    found = gradients(lambda x: F.unfold(x, 3, **options), x)
    columns = found[0].reshape(2, 3, 9, 64)
    np.testing.assert_array_equal(columns[:, :, 4], x.detach().numpy().reshape(2, 3, 64))
    assert not np.delete(columns, 4, 2).any()
    np.testing.assert_array_equal(found[1], 2 * x.detach().numpy())
    folded = F.fold(tw.tensor(found[0]), (8, 8), 3, **options)
    np.testing.assert_array_equal(folded.numpy(), x.detach().numpy())


def test_pools_over_wide_padding():
    x = normal(*IMAGE)
    array = x.numpy().astype(np.float64)
    options = {"kernel_size": WIDE, "stride": WIDE, "padding": WIDE // 2, "ceil_mode": True}
    most = F.max_pool2d(x, **options)
    np.testing.assert_array_equal(most.numpy(), array.max((2, 3), keepdims=True).astype("f4"))
    area = float(WIDE) ** 2
    mean, gradient = gradients(lambda x: F.avg_pool2d(x, **options) * area, x)
    total = array.sum((2, 3), keepdims=True)
    np.testing.assert_allclose(mean, total, rtol=1e-4)
    np.testing.assert_allclose(gradient, np.broadcast_to(2 * total, x.shape), rtol=1e-4)


def weight(x):
    return tw.ones(4, 3, *(3,) * (x.ndim - 2))


HUGE = {
    "padding": lambda x: F.conv2d(x, weight(x), padding=WIDE),
    "padding beyond": lambda x: F.conv2d(x, weight(x), padding=2**80),
    "padding of half a word": lambda x: F.conv2d(x, weight(x), padding=2**30),
    "dilation": lambda x: F.conv2d(x, weight(x), dilation=WIDE),
    "dilation beyond": lambda x: F.conv2d(x, weight(x), dilation=2**64, padding=2**64),
    "same": lambda x: F.conv2d(x, tw.ones(4, 3, 9, 9), dilation=WIDE, padding="same"),
    "stride beyond": lambda x: F.conv2d(x, weight(x), stride=2**63),
    "groups": lambda x: F.conv2d(x, weight(x), groups=2**62),
    "transposed stride": lambda x: F.conv_transpose2d(x, tw.ones(3, 4, 3, 3), stride=WIDE),
    "transposed dilation": lambda x: F.conv_transpose2d(x, tw.ones(3, 4, 3, 3), dilation=WIDE),
    "transposed groups": lambda x: F.conv_transpose2d(x, tw.ones(3, 4, 3, 3), groups=2**61),
    "output padding": lambda x: F.conv_transpose2d(
        x, tw.ones(3, 4, 1, 1), stride=2**40, output_padding=2**40 - 1
    ),
    "unfold": lambda x: F.unfold(x, 3, padding=WIDE),
    "unfold by half a word": lambda x: F.unfold(x, 3, padding=2**31),
    "unfold's kernel": lambda x: F.unfold(x, WIDE, padding=WIDE),
    "fold": lambda x: F.fold(x[0], 2**62, 1),
    "fold's stride": lambda x: F.fold(x[0], 2**40, 1, stride=2**70),
    "max pool's stride": lambda x: F.max_pool2d(x, 2, 2**65),
    "max pool's dilation": lambda x: F.max_pool2d(x, 2, 1, padding=1, dilation=WIDE),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, WIDE),
    "adaptive average beyond": lambda x: F.adaptive_avg_pool2d(x, (1, 2**64)),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, (WIDE, 1)),
    "unpool": lambda x: F.max_unpool2d(x, x.long(), 2, WIDE),
    "unpool into nothing": lambda x: F.max_unpool2d(x, x.long(), 2, padding=WIDE),
    "unpool into much": lambda x: F.max_unpool2d(x, x.long(), 2, output_size=(WIDE, 1)),
    "pad": lambda x: F.pad(x, (WIDE, 0)),
    "pad beyond": lambda x: F.pad(x, (2**70, 1)),
    "pad by an edge": lambda x: F.pad(x, (0, 2**50), "replicate"),
    "cut": lambda x: F.pad(x, (-9, 0)),
    "cut a lot": lambda x: F.pad(x, (0, -WIDE)),
    "cut from both": lambda x: F.pad(x, (-5, -5)),
    "resize": lambda x: F.interpolate(x, WIDE),
    "resize by a factor": lambda x: F.interpolate(x, scale_factor=1e18, mode="bilinear"),
    "resize by area": lambda x: F.interpolate(x, (1, WIDE), mode="area"),
}


@pytest.mark.parametrize("name", HUGE)
def test_impossible_sizes_are_refused(name):
    started = time.perf_counter()
    with pytest.raises((ValueError, MemoryError)) as found:
        HUGE[name](tw.ones(*IMAGE))
    assert time.perf_counter() - started < 5.0
    assert str(found.value).startswith("["), found.value


def test_memory_that_cannot_be_had_is_an_error_and_the_process_goes_on():
    if engines.current_engine() != "native":
        pytest.skip("NumPy's own arrays: the system decides")
    native = engines.engine_module("native")
    in_use = native.pool_stats()["in_use_bytes"]
    for elements in (2**38, 2**42, 2**60, 2**62):  # from a terabyte on
        with pytest.raises(MemoryError):
            native.random_bits((elements,), 0, 0)
        with pytest.raises(MemoryError):
            native.sum(np.broadcast_to(np.float32(1), (elements // 4,)), (0,), False)
    assert native.pool_stats()["in_use_bytes"] == in_use
    assert (tw.ones(3) + 1).tolist() == [2, 2, 2]


def test_products_of_many_factors_take_no_square_of_memory():
    """Not where a factor is 0 either, which no quotient serves."""
    n = 200_000
    x = tw.ones(n)
    x[7] = 0.0
    x.requires_grad_()
    x.prod().backward()
    assert x.grad[7] == 1
    assert x.grad.count_nonzero() == 1
    x.grad = None
    x.cumprod(0).sum().backward()
    assert x.grad[:8].tolist() == [7, 6, 5, 4, 3, 2, 1, n - 7]
    assert x.grad[8:].count_nonzero() == 0
